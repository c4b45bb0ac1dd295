"""XEP-0077: In-Band Registration: new accounts (off unless the operator opens it), new passwords, removal."""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from itertools import islice, product
from typing import TYPE_CHECKING

from xmppd.cache import BESIDE, Cache
from xmppd.config import Duration, option
from xmppd.contracts.accounts import REGISTRATION, TAKEN
from xmppd.contracts.stream_features import FEATURES, FeatureAsk
from xmppd.errors import (
    BadRequest,
    Conflict,
    JidMalformed,
    MalformedJid,
    NotAcceptable,
    NotAllowed,
    ResourceConstraint,
    ServiceUnavailable,
    UnexpectedRequest,
)
from xmppd.plugin import JID, E, Element, Plugin, Request, Session, Stanza, To, Xep, iq, on
from xmppd.xml import find, text_of

if TYPE_CHECKING:
    from xmppd.clock import Clock

NS = "jabber:iq:register"
FEATURE_NS = "http://jabber.org/features/iq-register"
COUNTED_ADDRESSES = 10_000
COUNTED_BYTES = 8 << 20
RESERVED = (
    "abuse",
    "admin",
    "administrator",
    "billing",
    "hostmaster",
    "info",
    "moderator",
    "noreply",
    "operator",
    "postmaster",
    "root",
    "security",
    "server",
    "staff",
    "support",
    "system",
    "webmaster",
    "xmpp",
)
_PLAIN = re.compile(r"[a-z0-9][a-z0-9._-]*", re.ASCII).fullmatch
_TWINS = {each: group for group in ("o0", "il1", "b8", "s5", "z2") for each in group}
_PAIRS = (("rn", "m"), ("m", "rn"), ("vv", "w"), ("w", "vv"), ("cl", "d"), ("d", "cl"))
_LATIN = str.maketrans("аеорсухіјѕһԁԛԝвкмнтοανικρτυχ", "aeopcyxijshdqwbkmhtoavikptux")
_CYRILLIC = str.maketrans("aeopcyxijshdqw", "аеорсухіјѕһԁԛԝ")
TWINS_LOOKED_AT = 256


@dataclass(frozen=True)
class Config:
    open: bool = option(False, "Let strangers make accounts. Spammers look for such servers.")
    password_change: bool = option(True, "Let people change their own password.")
    removal: bool = option(True, "Let people delete their own account, with all that it owns.")
    instructions: str = option("Choose a name and a password.", "What a stranger is told.", high=1000)
    name_length: int = option(2, "The least number of characters in a name.", low=1, high=64)
    password_length: int = option(8, "The least number of characters in a password.", low=1, high=128)
    ascii_names: bool = option(True, "New names consist of a-z, 0-9, dot, hyphen and underscore only.")
    reserved: tuple[str, ...] = option(RESERVED, "Names that nobody can take.")
    per_address: int = option(3, "Accounts that one IP address (IPv6: one /64) can make within `interval`.", low=1)
    attempts: int = option(20, "Tries of one address within `interval`, those that failed included.", low=1)
    interval: Duration = option(Duration("1 hour"), "For the two limits above.", low=1)


class Register(Plugin[Config]):
    xeps = (Xep(77, "2.4", "registration of strangers is off by default; no forms"),)
    features = (NS,)
    provides = (REGISTRATION,)

    def setup(self) -> None:
        self.open = self.config.open
        clock, interval = self.host.clock, float(self.config.interval)
        self.made = AddressLimit(clock, self.config.per_address, interval)
        self.tried = AddressLimit(clock, self.config.attempts, interval)

    def reconfigured(self) -> None:
        self.open = self.config.open
        for rate, limit in ((self.made, self.config.per_address), (self.tried, self.config.attempts)):
            rate.limit, rate.interval = limit, float(self.config.interval)

    @on(FEATURES)
    def feature(self, ask: FeatureAsk) -> Iterable[Element]:
        """Section 8."""
        if self.open and ask.secure and not ask.signed_in:
            yield E("register", FEATURE_NS)

    # ---- strangers (section 3.1)

    async def before_sign_in(self, stanza: Stanza, peer: str) -> Stanza:
        """See contracts.accounts. The core calls it on a safe stream only, and only if `open`."""
        if stanza.fault:
            raise JidMalformed()
        if stanza.to is not None and stanza.to != self.host.jid:
            raise ServiceUnavailable()
        query = stanza.payload
        if query is None or not stanza.id or stanza.type not in ("get", "set"):
            raise BadRequest()
        if stanza.type == "get":
            fields = (E("instructions", NS, {}, self.config.instructions), E("username", NS), E("password", NS))
            return stanza.result(E("query", NS, {}, *fields))
        if find(query, NS, "remove") is not None:
            raise UnexpectedRequest("sign in first")
        self.tried.count(peer)
        jid, password = await self._wanted(query)
        self.made.check(peer)
        await self.host.server.accounts.create(jid, password, stranger=True)
        self.made.count(peer)
        return stanza.result()

    async def _wanted(self, query: Element) -> tuple[JID, str]:
        """Raises NotAcceptable, Conflict."""
        name, password = text_of(find(query, NS, "username")), text_of(find(query, NS, "password"))
        if not name or not password:
            raise NotAcceptable("a name and a password are required")
        try:
            jid = JID.of(name, self.host.domain)
        except MalformedJid:
            raise NotAcceptable("not a name") from None
        self._check_password(jid, password)
        accounts = self.host.server.accounts
        if self._refused(jid.local) and not await accounts.exists(jid):
            raise NotAcceptable("this name cannot be taken")
        reserved = accounts.reserved()
        for twin in twins(jid.local):
            other = JID.of(twin, self.host.domain)
            if twin in self.config.reserved or other.bare in reserved or await accounts.exists(other):
                raise Conflict(TAKEN)
        return jid, password

    def _refused(self, name: str) -> bool:
        if len(name) < self.config.name_length or name in self.config.reserved:
            return True
        if self.config.ascii_names or name.isascii():
            return not _PLAIN(name)
        return len(scripts(name)) > 1  # UTS 39 section 5.1: letters of one script only

    def _check_password(self, jid: JID, password: str) -> None:
        if len(password) < self.config.password_length:
            raise NotAcceptable(f"a password has at least {self.config.password_length} characters")
        if password.casefold() == jid.local:
            raise NotAcceptable("the name is no password")

    # ---- people who are signed in

    @iq("get", NS, "query", To.HOST, To.SELF)
    async def registered(self, request: Request) -> Element:
        """Section 3.1: what is on file."""
        self._session(request)
        return E("query", NS, {}, E("registered", NS), E("username", NS, {}, request.sender.local))

    @iq("set", NS, "query", To.HOST, To.SELF)
    async def change(self, request: Request) -> None:
        """Sections 3.2 and 3.3. Nobody is signed in over a stream that is not safe."""
        session, query = self._session(request), request.payload
        if find(query, NS, "remove") is not None:
            if len(query) != 1:
                raise BadRequest("<remove/> stands alone")
            await self._remove(session)
            return
        if not self.config.password_change:
            raise NotAllowed()
        name, password = text_of(find(query, NS, "username")), text_of(find(query, NS, "password"))
        if not name or not password:
            raise BadRequest("a name and a password are required")
        own = session.account.jid
        try:
            if JID.of(name, self.host.domain) != own:
                raise NotAllowed("not your name")
        except MalformedJid:
            raise BadRequest("not a name") from None
        self._check_password(own, password)
        await self.host.server.accounts.set_password(own, password, keep=session)

    async def _remove(self, session: Session) -> None:
        if not self.config.removal:
            raise NotAllowed()
        await self.host.server.accounts.delete(session.account.jid, keep=session)
        self.spawn(self._goodbye(session), "goodbye")

    async def _goodbye(self, session: Session) -> None:
        """Behind the result: <not-authorized/> (section 3.2)."""
        self.host.server.session_manager.end(session, "not-authorized", "the account was removed")

    def _session(self, request: Request) -> Session:
        """Raises ServiceUnavailable for whoever is no user of this host."""
        session = request.session
        if session is None or session.host is not self.host:
            raise ServiceUnavailable()
        return session


class AddressLimit:
    """At most `limit` counts of one address within `interval` seconds."""

    def __init__(self, clock: Clock, limit: int, interval: float) -> None:
        self.clock = clock
        self.limit = limit
        self.interval = interval
        self._times: Cache[str, deque[float]] = Cache(COUNTED_ADDRESSES, COUNTED_BYTES, _weight)

    def check(self, address: str) -> None:
        """Raises ResourceConstraint when the limit is reached."""
        times, now = self._times.get(network(address)), self.clock.monotonic()
        while times and times[0] <= now - self.interval:
            times.popleft()
        if times and len(times) >= self.limit:
            raise ResourceConstraint("too many from your address: try again later")

    def count(self, address: str) -> None:
        """Raises ResourceConstraint when the limit is reached."""
        self.check(address)
        key = network(address)
        times = self._times.get(key) or deque()
        times.append(self.clock.monotonic())
        self._times.put(key, times)


def _weight(address: str, times: deque[float]) -> int:
    return BESIDE + len(address) + 700 + 32 * len(times)


def network(address: str) -> str:
    """What counts as one address: one IPv4 address, one IPv6 /64."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ip_network((parsed, 64), strict=False)) if parsed.version == 6 else str(parsed)


def scripts(name: str) -> set[str]:
    """The scripts of its letters, by the first word of their Unicode names."""
    return {unicodedata.name(char, "?").split()[0] for char in name if char.isalpha()}


def twins(name: str) -> Iterator[str]:
    """Names that a reader takes for this one, itself left out: o and 0, l, i and 1, rn and m, Cyrillic and Greek
    letters that look Latin (after UTS 39 section 4). At most TWINS_LOOKED_AT of them."""
    seen = {name}
    for form in (name, name.translate(_LATIN), name.translate(_CYRILLIC)):
        spellings = [form, *(form.replace(old, new) for old, new in _PAIRS)]
        for spelling in spellings:
            ways = product(*(_TWINS.get(char, char) for char in spelling))
            for way in islice(ways, TWINS_LOOKED_AT // len(spellings)):
                twin = "".join(way)
                if twin not in seen:
                    seen.add(twin)
                    yield twin
