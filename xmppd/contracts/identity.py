"""Where the people of a host are known, if not here: a directory (LDAP), an issuer of tokens (OpenID Connect)."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

from ..hooks import Collect
from ..jid import JID


class SourceUnavailable(Exception):
    """The source does not answer, or not as it should. The text is for the log."""


class TokenExpired(Exception):
    """The token was good, and its time is over: no guess."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody whom a source knows.

    `username`: the localpart of the account. `subject`: what the source gives to nobody else, ever; "" if it has no
    such thing. `name`, `mail`, `groups`: as the source tells, "" and () for nothing.
    """

    username: str
    subject: str = ""
    name: str = ""
    mail: str = ""
    groups: tuple[str, ...] = ()


class Authenticator(Protocol):
    """One source of identity of a host: what the host asks to check a password or a token.

    Its methods are bounded in time, never block the event loop, and raise SourceUnavailable.
    """

    @property
    def source(self) -> str:
        """The name of the source, the same after a restart; one host has no two of a name."""
        ...

    @property
    def checks_passwords(self) -> bool:
        """PLAIN is announced for it."""
        ...

    @property
    def checks_tokens(self) -> bool:
        """OAUTHBEARER is announced for it."""
        ...

    @property
    def exclusive(self) -> bool:
        """Nobody signs in with a password that is stored here."""
        ...

    @property
    def creates_accounts(self) -> bool:
        """Whom it knows gets an account at the first sign-in."""
        ...

    @property
    def good_for(self) -> float:
        """Where `knows` cannot tell: seconds after a sign-in in which the source was asked until that has to be done
        again; 0: never."""
        ...

    @property
    def discovery(self) -> str:
        """Where clients find out how to get a token (RFC 7628 section 3.2.2): a URL, "" if it checks none."""
        ...

    @property
    def scope(self) -> str:
        """What a token must be good for, separated by spaces; "" for nothing particular."""
        ...

    def check_password(self, username: str, password: str) -> Awaitable[Identity | None]:
        """Who that is. None: nobody, or not the password; both take the same time, as far as the source lets them."""
        ...

    def check_token(self, token: str) -> Awaitable[Identity | None]:
        """Who has that token; None: it is not good. Raises TokenExpired."""
        ...

    def knows(self, username: str, subject: str) -> Awaitable[bool | None]:
        """Whether the person still may sign in. None: only a new sign-in can tell."""
        ...


AUTHENTICATORS = Collect[JID, Authenticator]("authenticators", plain=True)
"""The sources of a host, by the address of which they are asked. One at most checks passwords, and one tokens. It must
not raise."""
