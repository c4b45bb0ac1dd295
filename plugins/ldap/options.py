"""Options of the plugin."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from xmppd.config import Duration, option

from .names import PLACE, is_filter

PASSWORD_VARIABLE: Final = "XMPPD_LDAP_PASSWORD"


@dataclass(frozen=True)
class Config:
    servers: tuple[str, ...] = option(
        doc="Addresses of the directory, as `ldaps://ldap.example.org` or `ldap://ldap.example.org:389`: the first one "
        "that answers is asked.",
        low=1,
    )
    start_tls: bool = option(True, "Encrypt connections to `ldap://` (StartTLS); only on this machine it can be off.")
    ca: Path | None = option(None, "Certificates, PEM, by which the directory is known; null: those of the system.")
    base: str = option("", "Where people are looked for, as `ou=people,dc=example,dc=org`.")
    filter: str = option(
        "(&(objectClass=person)(uid={name}))",
        "Who is looked for there; `{name}` is the name that the person has given. Who does not match cannot sign in.",
    )
    dn: str = option(
        "",
        "In place of `base` and `filter`: the entry of a person, as `uid={name},ou=people,dc=example,dc=org`.",
    )
    bind_dn: str = option("", "As whom the server itself looks for people; empty: as nobody, if the directory lets it.")
    password: str = option(
        "", "The password for that; empty: that of `password_file` or of the environment.", secret=True
    )
    password_file: Path | None = option(
        None,
        f"File with that password, read anew for each connection; null: the variable {PASSWORD_VARIABLE} of the "
        "environment has it.",
    )
    name: str = option("uid", "Attribute that has the name of the person; empty: it is not compared.")
    subject: str = option(
        "entryUUID", "Attribute that no other person will ever have (`objectGUID` in Active Directory); empty: none."
    )
    display_name: str = option("cn", "Attribute with the name for people.")
    mail: str = option("mail", "Attribute with the mail address.")
    groups_base: str = option("", "Where groups are looked for; empty: nowhere.")
    groups_filter: str = option("(member={dn})", "The groups of a person; `{dn}` is the person's entry.")
    group_name: str = option("cn", "Attribute with the name of a group.")
    create: bool = option(True, "Whom the directory knows gets an account at the first sign-in.")
    sign_in_again: Duration = option(
        Duration("0 seconds"),
        "With `dn` and without `bind_dn` nobody can look who is still there: so long a sign-in is good then. 0: "
        "without end.",
        low=0,
        high=31_536_000,
    )
    timeout: Duration = option(Duration("5 seconds"), "For each answer of the directory.", low=1, high=60)
    threads: int = option(4, "Passwords that are checked at once; the rest wait.", low=1, high=50)

    @property
    def secret(self) -> str:
        """The password of the server itself. Raises OSError, UnicodeError."""
        if self.password:
            return self.password
        if self.password_file is not None:
            return self.password_file.read_text().rstrip("\r\n")
        return os.environ.get(PASSWORD_VARIABLE, "")

    def check(self) -> Iterable[tuple[str | tuple[str, int], str]]:
        if find_spec("ldap3") is None:
            yield "servers", "needs the library ldap3: pip install 'xmppd[ldap]'"
        for at, server in enumerate(self.servers):
            yield from ((("servers", at), wrong) for wrong in _server(server, self.start_tls))
        yield from self._people()
        yield from self._secret()
        if self.ca is not None and not self.ca.is_file():
            yield "ca", f"{self.ca} is not there"
        if self.groups_base and (not is_filter(self.groups_filter) or "{dn}" not in self.groups_filter):
            yield "groups_filter", "expected a filter with {dn}, as '(member={dn})'"

    def _people(self) -> Iterable[tuple[str, str]]:
        if not self.base and not self.dn:
            yield "servers", "needs one of the options 'base' and 'dn' as well"
        if self.base and self.dn:
            yield "dn", "people are looked for in 'base', or their entry is known by 'dn'"
        if self.dn and PLACE not in self.dn:
            yield "dn", f"expected the name of an entry with {PLACE}, as 'uid={{name}},ou=people,dc=example,dc=org'"
        if not is_filter(self.filter) or PLACE not in self.filter:
            yield "filter", f"expected a filter with {PLACE}, as '(uid={{name}})'"
        if self.sign_in_again and (self.base or self.bind_dn):
            yield "sign_in_again", "is for 'dn' without 'bind_dn': here the directory is asked who is still there"

    def _secret(self) -> Iterable[tuple[str, str]]:
        try:
            secret = self.secret
        except (OSError, UnicodeError) as error:
            yield "password_file", f"cannot be read: {error}"
            return
        if self.bind_dn and not secret:
            yield "bind_dn", "needs a password as well: the option 'password_file' or 'password'"
        if not self.bind_dn and (self.password or self.password_file is not None):
            where = "password" if self.password else "password_file"
            yield where, "is for nobody: the option 'bind_dn' is missing"


def _server(text: str, start_tls: bool) -> Iterable[str]:
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname or ""
    except ValueError as error:
        yield f"{error}"
        return
    if parts.scheme not in ("ldap", "ldaps") or not host or parts.path.strip("/") or parts.query or port == 0:
        yield f"expected an address such as 'ldaps://ldap.example.org', got {text!r}"
    elif parts.scheme == "ldap" and not start_tls and not _is_here(host):
        yield "passwords would cross the network unencrypted: take ldaps:// or start_tls"


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
