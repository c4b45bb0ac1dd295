"""Addresses (RFC 7622). One address has one `JID.full`, however it was spelled on the wire.

Where the RFC and what clients have long sent differ, the localpart is as strict as the RFC, since it names
an account; the resourcepart, which names a device or a nick, forgives what is harmless (`_prepare_resource`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, ip_address
from typing import Final, NoReturn

import idna
from precis_i18n.derived import FREE_PVAL, PVALID, derived_property
from precis_i18n.profile import Nickname, OpaqueString, Username
from precis_i18n.unicode import UnicodeData

from xmppd.errors import MalformedJid

PART_OCTETS: Final = 1023
"""The longest localpart, domainpart and resourcepart, in octets of UTF-8 (RFC 7622 sections 3.2 to 3.4)."""

CACHE_SIZE: Final = 50_000
"""How many spellings are remembered, in two generations of half of it each."""

CACHED_LENGTH: Final = 256
"""Longer texts are not remembered: a stranger could fill the memory with 3 KiB addresses."""

_LONGEST: Final = 2 * PART_OCTETS
"""Code points of a part that are worth preparing: composition shortens a text, but hardly by more."""

_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(?![A-Za-z0-9_-])"
_LOCAL: Final = r"[!#$%()*+,\-.0-9;=?A-Z\[\\\]^_`a-z{|}~]"
_label = re.compile(_LABEL).fullmatch
_ascii = re.compile(
    rf"(?:({_LOCAL}{{1,{PART_OCTETS}}})@)?"
    rf"((?:{_LABEL}(?:\.{_LABEL})*))\.?"
    rf"(?:/([ -~]{{1,{PART_OCTETS}}}))?"
).fullmatch
_plain_local = re.compile(rf"{_LOCAL}{{1,{PART_OCTETS}}}").fullmatch
_plain_domain = re.compile(rf"(?=.{{1,{PART_OCTETS}}}\.?\Z)({_LABEL}(?:\.{_LABEL})*)\.?").fullmatch
"""ASCII of which preparation changes nothing but the case, and the root's dot."""
_excluded = re.compile("[\"&'/:<>@]").search
"""RFC 7622 section 3.3.1: not in a localpart, though the PRECIS class has them."""

_IGNORED: Final = dict.fromkeys(
    map(
        ord,
        "\u00ad\u034f\u180b\u180c\u180d\u180e\u180f\u200b\u2060\u2064\ufeff"
        + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0020, 0xE0080), *range(0xE0100, 0xE01F0)))),
    )
)
"""Invisible: what stringprep maps to nothing (RFC 3454 table B.1) and the tags of flag emoji."""

_JOINERS: Final = dict.fromkeys([0x200C, 0x200D])


class _Unicode(UnicodeData):
    """The runtime's Unicode data, with the code points kept for later emoji taken as symbols.

    Phones know new emoji years before a server's Python does. No decomposition or case is ever given to this
    block, so what is stored stays stable.
    """

    def category(self, char: str) -> str:
        found = super().category(char)
        return "So" if found == "Cn" and "\U0001f000" <= char <= "\U0001faff" else found


_username = Username(UnicodeData(), "UsernameCaseMapped", "lower")
_unicode = _Unicode()
_opaque = OpaqueString(_unicode, "OpaqueString")
_nickname = Nickname(_unicode, "Nickname", "lower")


class JID:
    """An address; immutable, hashed and compared by `full`. Parts that are absent are "".

    `bare` is local@domain or domain. Make one by `JID.parse` or `JID.of`.
    """

    __slots__ = ("_bare_jid", "bare", "domain", "full", "local", "resource")

    local: str
    domain: str
    resource: str
    bare: str
    full: str
    _bare_jid: JID | None

    def __init__(self) -> None:
        raise TypeError("JID.parse() or JID.of() makes an address")

    @staticmethod
    def parse(text: str) -> JID:
        """The address that a text spells (RFC 7622 section 3.1). Raises MalformedJid."""
        jid = _recent.get(text)
        return jid if jid is not None else _parse_new(text)

    @staticmethod
    def of(local: str, domain: str, resource: str = "") -> JID:
        """An address of parts that need preparation but no splitting. Raises MalformedJid."""
        return _make(
            prepare_local(local) if local else "",
            prepare_domain(domain),
            _prepare_resource(resource) if resource else "",
        )

    def to_bare(self) -> JID:
        """The same address without its resource."""
        if not self.resource:
            return self
        bare = self._bare_jid
        if bare is None:
            bare = JID.parse(self.bare)
            _set(self, "_bare_jid", bare)
        return bare

    def with_resource(self, resource: str) -> JID:
        """The full address of a resource at this bare one. Raises MalformedJid."""
        return JID.parse(f"{self.bare}/{resource}")

    @property
    def is_bare(self) -> bool:
        """No resource: an account, a room, a service or a server."""
        return not self.resource

    @property
    def is_domain(self) -> bool:
        """A domain and nothing else."""
        return self.full == self.domain

    def __str__(self) -> str:
        return self.full

    def __repr__(self) -> str:
        return f"JID({self.full!r})"

    def __hash__(self) -> int:
        return hash(self.full)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, JID):
            return self.full == other.full
        return NotImplemented

    def __reduce__(self) -> tuple[object, ...]:
        return JID.parse, (self.full,)

    def __copy__(self) -> JID:
        return self

    def __deepcopy__(self, memo: object) -> JID:
        return self

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a JID is immutable")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a JID is immutable")


_set = object.__setattr__
_recent: dict[str, JID] = {}
_older: dict[str, JID] = {}


def _parse_new(text: str) -> JID:
    """A text that the younger generation does not hold. What is in use moves over and outlives the older."""
    global _recent, _older
    jid = _older.get(text) or _parse(text)
    if len(text) <= CACHED_LENGTH:
        if len(_recent) >= CACHE_SIZE // 2:
            _recent, _older = {}, _recent
        _recent[text] = jid
    return jid


def _parse(text: str) -> JID:
    fast = _ascii(text)
    if fast is not None:
        local, domain, resource = fast.groups()
        domain = domain.lower()
        if "xn--" not in domain and len(domain) <= PART_OCTETS:
            return _make(local.lower() if local else "", domain, resource or "")
    # Section 3.1: the first "/" ends the bare address, then the first "@" ends the localpart.
    bare, slash, resource = text.partition("/")
    local, at, domain = bare.partition("@")
    if not at:
        local, domain = "", bare
    return _make(
        prepare_local(local) if at else "",
        prepare_domain(domain),
        _prepare_resource(resource) if slash else "",
    )


def _make(local: str, domain: str, resource: str) -> JID:
    jid = object.__new__(JID)
    bare = f"{local}@{domain}" if local else domain
    _set(jid, "local", local)
    _set(jid, "domain", domain)
    _set(jid, "resource", resource)
    _set(jid, "bare", bare)
    _set(jid, "full", f"{bare}/{resource}" if resource else bare)
    _set(jid, "_bare_jid", None)
    return jid


def _bounded(part: str) -> None:
    """Before preparation, which costs half a microsecond and more per character. Raises MalformedJid."""
    if len(part) > _LONGEST:
        raise MalformedJid("too long")


def _measured(part: str, what: str) -> str:
    """1 to 1023 octets. Raises MalformedJid."""
    if not 0 < len(part.encode()) <= PART_OCTETS:
        raise MalformedJid(f"{what} is empty or too long")
    return part


def prepare_local(text: str) -> str:
    """A localpart as it is stored and compared: lower case, NFC, narrow (RFC 7622 section 3.3; PRECIS
    UsernameCaseMapped, RFC 8265 section 3.3). Raises MalformedJid."""
    if _plain_local(text):
        return text.lower()
    _bounded(text)
    try:
        local = _username.enforce(text)
    except ValueError:
        raise MalformedJid("not a localpart") from None
    # Afterwards: a full-width commercial at has become a plain one.
    if _excluded(local):
        raise MalformedJid("character not allowed in a localpart")
    return _measured(local, "localpart")


def prepare_domain(text: str) -> str:
    """A domainpart as it is stored and compared, wherever it came from: a stanza, a stream header, the configuration,
    the command line (RFC 7622 section 3.2). An IP address, or labels in lower-case Unicode (U-labels, composed,
    narrow), without the root's dot. Raises MalformedJid."""
    if text.startswith("["):
        return _ip_literal(text)
    plain = _plain_domain(text)
    if plain is not None:
        domain: str = plain[1].lower()
        if "xn--" not in domain:
            return domain
    _bounded(text)
    try:
        domain = _labels(text)
    except ValueError:
        raise MalformedJid("not a domain") from None
    return _measured(domain, "domain")


def ascii_domain(domain: str) -> str:
    """A domain as DNS, certificates and TLS (SNI) name it: lower-case A-labels (RFC 5890 section 2.3.2.1), or an IP
    address without brackets. Raises MalformedJid."""
    plain = prepare_domain(domain).strip("[]")
    if plain.isascii():
        return plain
    try:
        return idna.encode(plain).decode()
    except idna.IDNAError as error:
        raise MalformedJid(f"no such name in DNS: {error}") from None


def _ip_literal(text: str) -> str:
    """[IPv6] in its shortest form; a bracketed IPv4 address is the same as a plain one."""
    try:
        address = ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise MalformedJid("not an IP literal") from None
    if not text.endswith("]") or "%" in text:  # Python knows zones ("%eth0"), RFC 3986 does not
        raise MalformedJid("not an IP literal")
    return str(address) if isinstance(address, IPv4Address) else f"[{address.compressed}]"


def _labels(text: str) -> str:
    """UTS 46 maps case, width and dots; each label is then held against IDNA 2008. Raises ValueError."""
    mapped = idna.uts46_remap(text, std3_rules=False)
    labels = mapped.removesuffix(".").split(".")
    for index, label in enumerate(labels):
        if label.startswith("xn--"):
            labels[index] = idna.ulabel(label)
        elif not label.isascii():
            idna.alabel(label)
        elif not _label(label):  # more than IDNA allows: "_" and "--" are in names that exist
            raise MalformedJid("not a domain label")
    return ".".join(labels)


def _prepare_resource(text: str) -> str:
    """Section 3.4: OpaqueString (RFC 8265 section 4.2). If it refuses the text, invisible characters are left
    out, as stringprep did, and what PRECIS allows in some contexts only is let through: emoji with variation
    selectors and joiners, Arabic with a tatweel, "a·b". Nothing of that can look like another address part.
    """
    _bounded(text)
    resource = _opaque.apply_five_rules(text)
    if resource and all(map(_allowed, resource)):  # what `enforce` would find, at a tenth of the cost
        return _measured(resource, "resourcepart")
    try:
        resource = _opaque.enforce(text)
    except ValueError:
        resource = _opaque.apply_five_rules(text.translate(_IGNORED).translate(_JOINERS))
        if not all(map(_harmless, resource)):
            raise MalformedJid("not a resourcepart") from None
    return _measured(resource, "resourcepart")


@lru_cache(4096)
def _allowed(char: str) -> bool:
    """In the FreeformClass wherever it stands."""
    return derived_property(ord(char), _unicode)[0] in (PVALID, FREE_PVAL)


@lru_cache(4096)
def _harmless(char: str) -> bool:
    found, kind = derived_property(ord(char), _unicode)
    return found in (PVALID, FREE_PVAL) or kind == "exceptions"


def prepare_nick(text: str) -> str:
    """The key under which two nicks are the same to a reader (RFC 8266 section 2.4): lower case, NFKC, spaces
    trimmed and collapsed. Takes what a resourcepart may be. Raises MalformedJid, also if only spaces are there.

    The key is for comparison only; it is not itself held against the FreeformClass, because NFKC turns Hangul
    such as "ㅋㅋ", which is a good nick, into characters that the class refuses.
    """
    key = _prepare_resource(text)
    for _ in range(4):  # RFC 8264 section 7: the rules are applied until nothing changes, within reason
        former, key = key, _nickname.apply_five_rules(key)
        if key == former:
            break
    else:
        raise MalformedJid("nick without a canonical form")
    if not key:
        raise MalformedJid("an empty nick")
    return key
