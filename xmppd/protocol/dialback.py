"""Server dialback: the keys, and the elements that carry them (XEP-0220, XEP-0185). Sans-I/O.

The *initiating* server asks with <db:result/> whether it may send from one domain to another; the *receiving* server
asks with <db:verify/> the *authoritative* server of the first domain whether the key is one of its own. Each is
answered by an element of the same name. A server that has made a key need not keep it to know it again.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from ..errors import STANZAS_NS, LocalError, MalformedJid, StreamError
from ..jid import prepare_domain
from ..xml import escape, quoted
from .header import DIALBACK_NS
from .items import Nonza

NS: Final = DIALBACK_NS
RESULT: Final = f"{NS}|result"
VERIFY: Final = f"{NS}|verify"
FEATURE_NS: Final = "urn:xmpp:features:dialback"
FEATURE: Final = f"<dialback xmlns='{FEATURE_NS}'><errors/></dialback>".encode()
"""The stream feature: errors do not end our streams (XEP-0220 section 2.3.2)."""
LONGEST: Final = 512
"""Characters of a key or of the id of a stream; ours have 64 and 32."""

ERROR_TYPES: Final = {
    "item-not-found": "cancel",
    "remote-server-not-found": "cancel",
    "remote-server-timeout": "wait",
    "policy-violation": "modify",
    "not-authorized": "auth",
    "forbidden": "auth",
    "not-acceptable": "modify",
    "resource-constraint": "wait",
}
"""The conditions of section 2.4 that are stanza errors, as they must be, with their types (RFC 6120 section 8.3.3).
`remote-connection-failed` is of streams only: it is understood, not sent."""

_CONDITION: Final = re.compile(r"[a-z]+(-[a-z]+)*").fullmatch


class DialbackKeys:
    """Makes keys and knows them again (XEP-0185 section 2). `secret`: nobody else has it; all nodes of this server
    do. Raises ValueError when it is empty."""

    def __init__(self, secret: bytes) -> None:
        if not secret:
            raise ValueError("a secret that everybody knows")
        self._secret = hashlib.sha256(secret).hexdigest().encode()

    def key(self, receiving: str, originating: str, stream_id: str) -> str:
        """For a stream to the one domain from the other. `stream_id`: as the receiving server has given it. Domains as
        `prepare_domain` writes them."""
        text = f"{receiving} {originating} {stream_id}".encode()
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()

    def is_valid(self, key: str, receiving: str, originating: str, stream_id: str) -> bool:
        """Whether it is that one. Takes the same time for every wrong one."""
        return hmac.compare_digest(key.encode(), self.key(receiving, originating, stream_id).encode())


class Exchange(NamedTuple):
    """What a request and its answer have in common. `asking`, `asked`: domains."""

    name: str
    asking: str
    asked: str
    id: str


@dataclass(frozen=True, slots=True)
class Dialback:
    """A <db:result/> or <db:verify/>, by `name`.

    `sender`, `to`: domains. `key`: of a request. `type`: "" for a request; "valid", "invalid" or "error" for an answer.
    `id`: of the stream that the key is for, in <db:verify/> only. `condition`: of an error.
    """

    name: str
    sender: str
    to: str
    key: str = ""
    type: str = ""
    id: str = ""
    condition: str = ""

    # ---- read

    @classmethod
    def read(cls, nonza: Nonza) -> Dialback:
        """One that came. Raises StreamError: improper-addressing for domains that are none, policy-violation for what
        is too long, bad-format for what else cannot be understood."""
        attributes = nonza.attributes
        if nonza.tag not in (RESULT, VERIFY):
            raise StreamError("bad-format")
        sender, to = _domain(attributes.get("from", "")), _domain(attributes.get("to", ""))
        type, id, key = attributes.get("type", ""), "", ""
        if nonza.name == "verify":
            id = _bounded(attributes.get("id", ""), "an id")
        if not type:
            if nonza.tags:
                raise StreamError("bad-format", "a key is text")
            key = _bounded(nonza.text.strip(), "a key")
        elif type not in ("valid", "invalid", "error"):
            raise StreamError("bad-format", "no such type")
        return cls(nonza.name, sender, to, key, type, id, _condition(nonza) if type == "error" else "")

    @property
    def exchange(self) -> Exchange:
        """The same for a request and its answer. An answer counts on the stream of its request only, and once (sections
        2.1.1, 2.1.2 and 3.1): keep for each stream what it was asked, and take it out by this."""
        asking, asked = (self.to, self.sender) if self.type else (self.sender, self.to)
        return Exchange(self.name, asking, asked, self.id)

    # ---- made

    def verification(self, stream_id: str) -> Dialback:
        """What the receiving server asks the authoritative one about this <db:result/> (section 2.1.2). `stream_id`:
        given by us to the stream that it came by."""
        return Dialback("verify", self.to, self.sender, self.key, "", stream_id)

    def answer(self, type: Literal["valid", "invalid", "error"], condition: str = "") -> Dialback:
        """The answer to this request: whether the key is the right one (sections 2.2.1 and 2.2.2), or an error, which
        ends no stream (section 2.4). `condition`: of an error, one of `ERROR_TYPES`. Raises LocalError."""
        if self.type or (type == "error") != (condition in ERROR_TYPES):
            raise LocalError(f"no answer to {self}: {type} {condition}")
        return Dialback(self.name, self.to, self.sender, "", type, self.id, condition)

    def written(self) -> bytes:
        """As it goes over a stream whose header declares "db" (`framing.SERVER_STREAM`): the prefix is a must (section
        2), and <error/> is in the namespace of the stream (section 2.4)."""
        start = f"<db:{self.name} from='{quoted(self.sender)}' to='{quoted(self.to)}'"
        if self.id:
            start += f" id='{quoted(self.id)}'"
        if not self.type:
            return f"{start}>{escape(self.key)}</db:{self.name}>".encode()
        start += f" type='{self.type}'"
        if self.type != "error":
            return f"{start}/>".encode()
        error = f"<error type='{ERROR_TYPES[self.condition]}'><{self.condition} xmlns='{STANZAS_NS}'/></error>"
        return f"{start}>{error}</db:{self.name}>".encode()


def has_errors(features: Nonza) -> bool:
    """Whether who sends these stream features lives on with dialback errors, so that a stream may be asked for further
    domains of its own (sections 2.3.2 and 2.5.2)."""
    feature = features.child(FEATURE_NS, "dialback")
    return feature is not None and feature.child(FEATURE_NS, "errors") is not None


def _domain(text: str) -> str:
    try:
        return prepare_domain(text)
    except MalformedJid:
        raise StreamError("improper-addressing") from None


def _bounded(text: str, what: str) -> str:
    if not text:
        raise StreamError("bad-format", f"{what} is missing")
    if len(text) > LONGEST:
        raise StreamError("policy-violation", f"{what} is too long")
    return text


def _condition(nonza: Nonza) -> str:
    """Of an error; "undefined-condition" where there is none to be understood: no error ends the stream (section 2.4).
    <error/> is in the stream's namespace, but not with everybody."""
    for child in nonza.children():
        if child.name == "error":
            for each in child.children():
                if each.ns == STANZAS_NS and each.name != "text":
                    return each.name if len(each.name) < 50 and _CONDITION(each.name) else "undefined-condition"
    return "undefined-condition"
