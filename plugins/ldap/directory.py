"""A directory, asked over LDAP (RFC 4511): all here blocks, and is called in threads."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from secrets import token_hex
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from xmppd.contracts.identity import Identity, SourceUnavailable
from xmppd.errors import MalformedJid
from xmppd.jid import prepare_local

from .bounded import BoundedSocket
from .names import dn_value, filled, filter_value
from .options import Config

T = TypeVar("T")
VERIFIED: Final = 2
"""ssl.CERT_REQUIRED: ldap3 trusts everybody unless it is told."""
AT_ONCE: Final = (6, 1, 1)
"""IPPROTO_TCP, TCP_NODELAY: else each password waits 40 ms for the acknowledgement of the handshake before it."""
OK: Final = 0
SIZE_LIMIT: Final = 4
NO_SUCH_OBJECT: Final = 32
INVALID_DN: Final = 34
REFUSED: Final = frozenset((19, NO_SUCH_OBJECT, INVALID_DN, 48, 49, 50, 53))
"""Results of a bind that are the person's own matter: locked, no such entry, a wrong password (RFC 4511 appendix A)."""
REST: Final = 30.0
"""Seconds."""
IDLE: Final = 4
"""Connections of the server's own that are kept."""
GROUPS: Final = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """`values`: of the attributes that were asked for, by name in lower case."""

    dn: str
    values: dict[str, list[bytes]]

    def texts(self, attribute: str) -> list[str]:
        return [_text(value) for value in self.values.get(attribute.lower(), ())]

    def text(self, attribute: str) -> str:
        found = self.texts(attribute) if attribute else []
        return found[0][:1000] if found else ""


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()  # objectGUID


class Directory:
    """All methods raise SourceUnavailable."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._idle: deque[Any] = deque()
        """Connections of the server's own. A deque, since threads take from it."""
        self._rests: dict[str, float] = {}
        """Until when (monotonic) a server that did not answer is asked behind the others, by its address."""

    def close(self) -> None:
        while self._idle:
            self._end(self._idle.pop())

    # ---- what is asked

    def check(self, username: str, password: str) -> Identity | None:
        """Who has that name and password."""
        config = self.config
        if not password or "\0" in password:
            return None  # with an empty one the directory would let anybody in, as nobody (RFC 4513 section 5.1.2)
        if config.dn:
            return self._check_entry(filled(config.dn, username, dn_value), username, password)
        entry = self._own(lambda own: self._search(own, username))
        known = entry is not None and self._is_named(entry, username)
        # Who is not there costs the same: an entry that nobody can have.
        dn = entry.dn if entry is not None and known else f"cn={token_hex(16)},{config.base}"
        connection = self._bound(dn, password)
        if connection is None or entry is None or not known:
            return None
        self._end(connection)
        groups = self._own(lambda own: self._groups(own, entry)) if config.groups_base else ()
        return self._identity(entry, username, groups)

    def _check_entry(self, dn: str, username: str, password: str) -> Identity | None:
        connection = self._bound(dn, password)
        if connection is None:
            return None
        try:
            if not self.config.bind_dn:  # people see their own entries
                return self._identity_of(connection, dn, username)
        finally:
            self._end(connection)
        return self._own(lambda own: self._identity_of(own, dn, username))

    def _identity_of(self, connection: Any, dn: str, username: str) -> Identity | None:
        entry = self._read(connection, dn)
        if entry is None or not self._is_named(entry, username):
            return None
        return self._identity(entry, username, self._groups(connection, entry))

    def knows(self, username: str, subject: str) -> bool | None:
        """See `Authenticator.knows`."""
        config = self.config
        if config.dn and not config.bind_dn:
            return None
        dn = filled(config.dn, username, dn_value)
        entry = self._own(lambda own: self._read(own, dn) if dn else self._search(own, username))
        if entry is None or not self._is_named(entry, username):
            return False
        found = entry.text(config.subject)
        return not subject or not found or found == subject

    # ---- entries

    def _search(self, connection: Any, username: str) -> Entry | None:
        """The one entry of that name in `base`; None if there is none, or several."""
        config = self.config
        return self._find(connection, config.base, filled(config.filter, username, filter_value), "SUBTREE")

    def _read(self, connection: Any, dn: str) -> Entry | None:
        return self._find(connection, dn, "(objectClass=*)", "BASE")

    def _find(self, connection: Any, base: str, wanted: str, scope: str) -> Entry | None:
        config = self.config
        attributes = [each for each in (config.name, config.subject, config.display_name, config.mail) if each]
        code, entries = self._ask(connection, base, wanted, scope, attributes, 2)
        if code in (NO_SUCH_OBJECT, INVALID_DN) and scope == "BASE":
            return None
        if code not in (OK, SIZE_LIMIT):
            raise SourceUnavailable(f"a search in {base} ended with {_told(connection)}")
        return entries[0] if len(entries) == 1 and code == OK else None

    def _groups(self, connection: Any, entry: Entry) -> tuple[str, ...]:
        config = self.config
        if not config.groups_base:
            return ()
        wanted = config.groups_filter.replace("{dn}", filter_value(entry.dn))
        code, found = self._ask(connection, config.groups_base, wanted, "SUBTREE", [config.group_name], GROUPS)
        if code not in (OK, SIZE_LIMIT):
            raise SourceUnavailable(f"a search in {config.groups_base} ended with {_told(connection)}")
        return tuple(sorted({each.text(config.group_name) for each in found} - {""}))

    @staticmethod
    def _ask(
        connection: Any, base: str, wanted: str, scope: str, attributes: list[str], most: int
    ) -> tuple[int, list[Entry]]:
        connection.search(base, wanted, search_scope=scope, attributes=attributes or ["1.1"], size_limit=most)
        entries = [
            Entry(each["dn"], {name.lower(): list(values) for name, values in each["raw_attributes"].items()})
            for each in connection.response or ()
            if each["type"] == "searchResEntry"
        ]
        return connection.result["result"], entries

    def _is_named(self, entry: Entry, username: str) -> bool:
        """A directory compares more leniently than XMPP does: one person has one account."""
        return not self.config.name or username in {_prepared(each) for each in entry.texts(self.config.name)}

    def _identity(self, entry: Entry, username: str, groups: tuple[str, ...]) -> Identity:
        config = self.config
        subject, name, mail = (entry.text(each) for each in (config.subject, config.display_name, config.mail))
        return Identity(username, subject, name, mail, groups)

    # ---- connections

    def _own(self, work: Callable[[Any], T]) -> T:
        """Do something on a connection of the server's own. One that was kept may have been cut: then with a new
        one."""
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._with(self._server_itself(), work)
        try:
            return self._with(connection, work)
        except SourceUnavailable:
            return self._with(self._server_itself(), work)

    def _with(self, connection: Any, work: Callable[[Any], T]) -> T:
        try:
            with _errors():
                result = work(connection)
        except BaseException:
            self._end(connection)
            raise
        if len(self._idle) < IDLE:
            self._idle.append(connection)
        else:
            self._end(connection)
        return result

    def _server_itself(self) -> Any:
        if not self.config.bind_dn:
            return self._connected("", b"")
        try:
            secret = self.config.secret
        except (OSError, UnicodeError) as error:
            raise SourceUnavailable(f"the password of the server itself cannot be read: {error}") from None
        if not secret:
            raise SourceUnavailable("the server itself has no password")
        connection = self._bound(self.config.bind_dn, secret)
        if connection is None:
            raise SourceUnavailable(f"the directory does not let {self.config.bind_dn} in")
        return connection

    def _bound(self, dn: str, password: str) -> Any:
        """A connection as that entry; None: the directory does not let it in."""
        # As bytes: the library would prepare a text (RFC 4013), and some have nothing left then.
        connection = self._connected(dn, password.encode())
        with _errors():
            try:
                connection.bind()
            except BaseException:
                self._end(connection)
                raise
            code = connection.result["result"]
            if code == OK and connection.bound:
                return connection
            told = _told(connection)
        self._end(connection)
        if code in REFUSED:
            return None
        raise SourceUnavailable(f"a bind ended with {told}")

    def _connected(self, dn: str, password: bytes) -> Any:
        """To the first server that answers; encrypted, and not bound yet unless `dn` is empty."""
        error = SourceUnavailable("no server")
        now = time.monotonic()
        # One that did not answer comes last for a while: each password would wait for it.
        for address in sorted(self.config.servers, key=lambda each: self._rests.get(each, now) > now):
            try:
                return self._open(address, dn, password)
            except SourceUnavailable as failed:
                error, self._rests[address] = failed, time.monotonic() + REST
        raise error

    def _open(self, address: str, dn: str, password: bytes) -> Any:
        ldap3 = import_module("ldap3")
        config, parts, timeout = self.config, urlsplit(address), max(1, round(float(self.config.timeout)))
        host, encrypted = parts.hostname or "", parts.scheme == "ldaps"
        with _errors(address):
            tls = ldap3.Tls(validate=VERIFIED, ca_certs_file=str(config.ca) if config.ca is not None else None)
            server = ldap3.Server(
                host,
                parts.port or (636 if encrypted else 389),
                use_ssl=encrypted,
                tls=tls,
                get_info="NO_INFO",
                connect_timeout=timeout,
                allowed_referral_hosts=[],
            )
            who = {"user": dn, "password": password, "authentication": "SIMPLE"} if dn else {}
            connection = ldap3.Connection(
                server,
                auto_referrals=False,  # a password goes to no other server
                check_names=False,
                raise_exceptions=False,
                receive_timeout=timeout,
                auto_bind="NONE",
                **who,
            )
            try:
                connection.open(read_server_info=False)
                connection.socket.setsockopt(*AT_ONCE)
                if not encrypted and config.start_tls:
                    connection.socket = BoundedSocket(connection.socket, timeout)
                    if not connection.start_tls(read_server_info=False):
                        raise SourceUnavailable(f"{address}: StartTLS ended with {_told(connection)}")
                connection.socket = BoundedSocket(connection.socket, timeout)
                if not dn:
                    connection.bind()
            except BaseException:
                self._end(connection)
                raise
        return connection

    @staticmethod
    def _end(connection: Any) -> None:
        with suppress(Exception):
            connection.unbind()


def _prepared(name: str) -> str:
    try:
        return prepare_local(name)
    except MalformedJid:
        return ""


def _told(connection: Any) -> str:
    """The result of the last operation, for the log."""
    result = connection.result or {}
    return f"{result.get('description', '?')} ({result.get('result', '?')}) {result.get('message', '')}"[:300].strip()


@contextmanager
def _errors(about: str = "") -> Iterator[None]:
    """Whatever the library or the network raise is one thing."""
    try:
        yield
    except SourceUnavailable:
        raise
    except Exception as error:
        raise SourceUnavailable(f"{about}: {error}" if about else f"{type(error).__name__}: {error}") from error
