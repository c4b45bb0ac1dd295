"""WebSocket frames (RFC 6455 section 5), sans-I/O: the server's side.

Written here and not taken from a library because it is on the way of every stanza of a web client (docs/adr/0014).
"""

from __future__ import annotations

from typing import Final

CONTINUATION: Final = 0
TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10

NORMAL: Final = 1000
PROTOCOL_ERROR: Final = 1002
UNSUPPORTED: Final = 1003
TOO_BIG: Final = 1009
"""Reasons to close (section 7.4.1)."""

SMALL: Final = 1024
"""A fragment with fewer bytes counts as a message of its own, in what a client may send: it costs as much."""
_FIN: Final = 0x80
_RESERVED: Final = 0x70
_MASKED: Final = 0x80


class FrameReader:
    """Puts the messages of a client together. Look at `fault` after each `feed`: nothing is read after it."""

    __slots__ = ("_buffer", "_fragmented", "_message", "_need", "extra", "fault", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """Bytes that a message may have; looked at before the message is there."""
        self.fault = 0
        """Why the client's frames cannot be understood: a reason to close (section 7.4.1)."""
        self.extra = 0
        """Frames that cost work and are no message: of control, and small fragments."""
        self._buffer = bytearray()
        """The beginning of a frame."""
        self._need = 2
        """Bytes that a frame has as far as is known: with fewer in the buffer there is nothing to do."""
        self._message = bytearray()
        """Of a message in fragments."""
        self._fragmented = False

    @property
    def pending(self) -> int:
        """Bytes of an unfinished message."""
        return len(self._buffer) + len(self._message)

    def clear(self) -> None:
        """Forget the beginning of a message."""
        self._buffer, self._message = bytearray(), bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The messages that `data` completes: (TEXT, PING, PONG or CLOSE, content)."""
        found: list[tuple[int, bytes]] = []
        if self.fault:
            return found
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._need:
                return found
            data = bytes(self._buffer)
            self._buffer.clear()
        at, end = 0, len(data)
        while not self.fault and (header := self._header(data, at, end)) is not None:
            start, length = header
            self._need = start + length - at
            if end < start + length:
                break
            content = _unmasked(data[start - 4 : start], data[start : start + length])
            first = data[at]
            if first == _FIN | TEXT:
                found.append((TEXT, content))
            else:
                self._take(first & 0x0F, first & _FIN != 0, content, found)
            at = start + length
            self._need = 2
        if at < end and not self.fault:
            self._buffer += data[at:]
        return found

    def _header(self, data: bytes, at: int, end: int) -> tuple[int, int] | None:
        """Where the content of the frame at `at` begins, and its length (section 5.2). None: it is not all there, or
        cannot be taken."""
        if end - at < 2:
            self._need = 2
            return None
        length = data[at + 1] & 0x7F
        start = at + (6 if length < 126 else 8 if length == 126 else 14)
        if end >= start and length > 125:
            least = 126 if length == 126 else 65_536
            length = int.from_bytes(data[at + 2 : start - 4])
            if length < least:  # section 5.2: the least number of bytes
                self.fault = PROTOCOL_ERROR
        if not (data[at] == _FIN | TEXT and data[at + 1] & _MASKED and length <= self.limit and not self._fragmented):
            self.fault = self.fault or self._check(data[at], data[at + 1], length)
        if self.fault or end < start:
            self._need = start - at
            return None
        return start, length

    def _check(self, first: int, second: int, length: int) -> int:
        """Why a frame with this header cannot be taken, 0 for nothing. `length`: of the content, or 126 and more."""
        opcode = first & 0x0F
        if first & _RESERVED or not second & _MASKED:
            return PROTOCOL_ERROR  # sections 5.2 and 5.1
        if opcode >= CLOSE:
            known = opcode in (CLOSE, PING, PONG)
            return 0 if known and length <= 125 and first & _FIN else PROTOCOL_ERROR  # section 5.5
        if opcode > BINARY or (opcode == CONTINUATION) != self._fragmented:
            return PROTOCOL_ERROR  # section 5.4
        if opcode == BINARY:
            return UNSUPPORTED  # RFC 7395 section 3.2
        return TOO_BIG if len(self._message) + length > self.limit else 0

    def _take(self, opcode: int, last: bool, content: bytes, found: list[tuple[int, bytes]]) -> None:
        if opcode >= CLOSE or len(content) < SMALL:
            self.extra += 1
        if opcode == CLOSE and not _is_reason(content):
            self.fault = PROTOCOL_ERROR
        elif opcode >= CLOSE:
            found.append((opcode, content))
        else:
            self._message += content
            self._fragmented = not last
            if last:
                found.append((TEXT, bytes(self._message)))
                self._message = bytearray()


def _unmasked(mask: bytes, data: bytes) -> bytes:
    """Section 5.3. As whole numbers, which takes time in proportion to the length and needs no loop."""
    length = len(data)
    key = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(length, "little")


def _is_reason(content: bytes) -> bool:
    """Whether that may stand in a close frame (sections 5.5.1 and 7.4)."""
    if not content:
        return True
    code = int.from_bytes(content[:2])
    if len(content) < 2 or not (1000 <= code <= 1014 or 3000 <= code <= 4999) or code in (1004, 1005, 1006):
        return False
    try:
        content[2:].decode()
    except UnicodeDecodeError:
        return False
    return True


def frame(opcode: int, content: bytes) -> bytes:
    """A message in one frame, unmasked as a server's are."""
    length = len(content)
    if length < 126:
        return bytes((_FIN | opcode, length)) + content
    if length < 65_536:
        return bytes((_FIN | opcode, 126, length >> 8, length & 0xFF)) + content
    return bytes((_FIN | opcode, 127)) + length.to_bytes(8) + content


def close_frame(reason: int) -> bytes:
    """Section 5.5.1."""
    return frame(CLOSE, reason.to_bytes(2))
