"""Dialback, as the one who is asked (XEP-0220): whether another server speaks for a domain, whether a key is ours."""

from __future__ import annotations

import logging
from typing import ClassVar, Final, Protocol

from ..errors import StanzaError, StreamError
from ..protocol.dialback import Dialback
from .server_terms import PAIRS, Pair, Proof, Remotes

log = logging.getLogger("xmppd.streams")

VERIFYING: Final = 10
"""So many keys of one stream are asked about at once."""


class Asked(Protocol):
    """The stream that the keys come by. `takes_keys`: its id is ours, so a key for it proves something. `why`: what is
    wrong with the other server's certificate."""

    takes_keys: ClassVar[bool]
    remotes: Remotes
    id: str
    pairs: dict[Pair, Proof]
    closed: bool
    why: str

    @property
    def secure(self) -> bool: ...
    @property
    def peer(self) -> str: ...
    @property
    def peer_name(self) -> str: ...
    def is_certified(self, domain: str) -> bool: ...
    def answer(self, data: bytes) -> None: ...
    def prove(self, remote: str, local: str, by: Proof) -> None: ...
    def carry(self, remote: str, local: str) -> None: ...
    def fail(self, error: StreamError) -> None: ...


class KeyChecks:
    """On one stream. `verifying`: keys that are asked about now."""

    __slots__ = ("_stream", "verifying")

    def __init__(self, stream: Asked) -> None:
        self._stream = stream
        self.verifying = 0

    def requested(self, request: Dialback) -> None:
        """<db:result/> or <db:verify/>. Raises StreamError for an answer: we ask nothing of who has called, and what
        was not asked must not count (section 3.1)."""
        if request.type:
            raise StreamError("unsupported-stanza-type", "nothing was asked on this stream")
        if request.name == "result":
            self._result(request)
        else:
            self._verify(request)

    def _result(self, request: Dialback) -> None:
        """Section 2.1.1: it wants to speak for a domain, and gives its key."""
        stream, remote, local = self._stream, request.sender, request.to
        remotes = stream.remotes
        condition = self._refusal(remote, local)
        if condition:
            reason = "certificate" if condition == "not-authorized" else "policy"
            remotes.refused(local, remote, reason, self._told(condition, remote))
            stream.answer(request.answer("error", condition).written())
        elif stream.is_certified(remote):  # the same as its domain's word (XEP-0344 section 2)
            self._prove(request, Proof.CERTIFICATE)
        else:
            self.verifying += 1
            remotes.background.spawn(self._ask_back(request, stream.id), f"dialback of {remote}")

    def _prove(self, request: Dialback, by: Proof) -> None:
        """The answer goes before the stanzas that may follow it."""
        stream = self._stream
        stream.answer(request.answer("valid").written())
        stream.prove(request.sender, request.to, by)
        stream.carry(request.sender, request.to)

    def _told(self, condition: str, remote: str) -> str:
        """For the administrator."""
        if condition == "not-authorized":
            return f"its certificate proves nothing, and dialback is not taken: {self._stream.why or 'none was shown'}"
        if condition == "policy-violation" and self._stream.remotes.reaches(remote):
            return "it does not encrypt"
        return f"it was refused: {condition}"

    def _refusal(self, remote: str, local: str) -> str:
        """Why it cannot speak for that domain (section 2.4), "" if it may try."""
        stream, remotes = self._stream, self._stream.remotes
        if not remotes.serves(local):
            return "item-not-found"
        if remotes.serves(remote) or not remotes.reaches(remote):
            return "policy-violation"
        if not stream.secure and remotes.config.needs_tls(remote):
            return "policy-violation"
        if (not stream.takes_keys or not remotes.config.takes_dialback(remote)) and not stream.is_certified(remote):
            return "not-authorized"
        if self.verifying >= VERIFYING or (len(stream.pairs) >= PAIRS and (remote, local) not in stream.pairs):
            return "resource-constraint"
        return ""

    async def _ask_back(self, request: Dialback, id: str) -> None:
        """Ask the domain itself, on a connection of ours to where DNS says that it is. `id`: of this stream."""
        stream, remote, local = self._stream, request.sender, request.to
        remotes = stream.remotes
        try:
            valid = await remotes.verify(local, remote, id, request.key, stream.peer)
        except StanzaError as error:
            said = error.text or error.condition
            remotes.say("%s cannot prove that it is %s: %s", stream.peer_name, remote, said)
            why = f"dialback: it cannot be asked whether the key is its own: {said}"
            remotes.refused(local, remote, "not_reached", why)
            answer = request.answer("error", error.condition)
        except Exception:
            log.exception("to ask %s about a key failed", remote)
            answer = request.answer("error", "remote-server-timeout")
        else:
            answer = request.answer("valid") if valid else self._invalid(request)
        finally:
            self.verifying -= 1
        if stream.closed or stream.id != id:  # what was asked before TLS or a sign-in counts no more
            return
        if answer.type == "valid" and self._refusal(remote, local):  # the configuration is another one now
            answer = request.answer("error", "policy-violation")
        if answer.type == "valid":
            self._prove(request, Proof.DIALBACK)
            return
        stream.answer(answer.written())
        if answer.type == "invalid":
            stream.fail(StreamError("not-authorized", "the dialback key is not valid"))

    def _invalid(self, request: Dialback) -> Dialback:
        """The domain does not know the key (section 2.2.1): that ends the stream, unless it speaks for others."""
        stream = self._stream
        stream.remotes.say("%s has shown a key that %s does not know", stream.peer_name, request.sender)
        text = "dialback: somebody has shown a key that it does not know"
        stream.remotes.refused(request.to, request.sender, "key", text)
        return request.answer("error", "forbidden") if stream.pairs else request.answer("invalid")

    def _verify(self, request: Dialback) -> None:
        """Section 2.1.2: somebody asks whether a key is ours. No state is needed for that."""
        stream = self._stream
        if not stream.remotes.serves(request.to):
            stream.answer(request.answer("error", "item-not-found").written())
            return
        valid = stream.remotes.keys.is_valid(request.key, request.sender, request.to, request.id)
        stream.answer(request.answer("valid" if valid else "invalid").written())
