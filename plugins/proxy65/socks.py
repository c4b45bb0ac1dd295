"""The part of SOCKS 5 (RFC 1928) that bytestreams use, without I/O: greeting, CONNECT to a name, answer."""

from __future__ import annotations

from typing import Final

VERSION: Final = 5
NO_AUTHENTICATION: Final = 0
NONE_ACCEPTABLE: Final = 0xFF
CONNECT: Final = 1
NAME: Final = 3
REFUSED: Final = 2
"""Connection not allowed by ruleset."""
COMMAND_NOT_SUPPORTED: Final = 7
ADDRESS_NOT_SUPPORTED: Final = 8


class SocksError(Exception):
    """What came is no such handshake. `answer`: what is sent before closing."""

    def __init__(self, answer: bytes = b"") -> None:
        super().__init__(answer)
        self.answer = answer


class Handshake:
    """`feed` it what comes. `name`: the DST.ADDR asked for, once it is complete; `rest`: what came behind it."""

    def __init__(self) -> None:
        self.name = ""
        self.rest = b""
        self._greeted = False
        self._buffer = b""

    def feed(self, data: bytes) -> bytes:
        """What is to be answered now. Raises SocksError."""
        self._buffer += data
        answer = b""
        if not self._greeted:
            buffer = self._buffer
            if buffer[:1] not in (b"", bytes((VERSION,))):
                raise SocksError
            if len(buffer) < 2 or len(buffer) < 2 + buffer[1]:
                return b""
            methods, self._buffer = buffer[2 : 2 + buffer[1]], buffer[2 + buffer[1] :]
            if NO_AUTHENTICATION not in methods:
                raise SocksError(bytes((VERSION, NONE_ACCEPTABLE)))
            self._greeted = True
            answer = bytes((VERSION, NO_AUTHENTICATION))
        buffer = self._buffer
        if len(buffer) < 5:
            return answer
        version, command, _, kind, length = buffer[:5]
        if version != VERSION:
            raise SocksError
        if command != CONNECT:
            raise SocksError(failure(COMMAND_NOT_SUPPORTED))
        if kind != NAME:
            raise SocksError(failure(ADDRESS_NOT_SUPPORTED))
        end = 5 + length
        if len(buffer) < end + 2:
            return answer
        # The port is said to be 0; clients that say another one mean the same.
        name = buffer[5:end]
        if not name.isalnum() or not name.isascii():
            raise SocksError(failure(REFUSED))
        self.name, self.rest, self._buffer = name.decode().lower(), buffer[end + 2 :], b""
        return answer


def success(name: str) -> bytes:
    """XEP-0065 section 6.3.4: BND.ADDR and BND.PORT are what was asked for."""
    return bytes((VERSION, 0, 0, NAME, len(name))) + name.encode() + b"\0\0"


def failure(code: int) -> bytes:
    return bytes((VERSION, code, 0, 1)) + bytes(6)
