"""Parts of the server that plugins call: locks, accounts, sessions and their streams, requests to the web."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from ..jid import JID
from ..protocol.sasl import Credentials, ScramKeys
from ..storage.api import Write
from .accounts import ADMINISTRATOR
from .internal import StreamInternals


class Locks(Protocol):
    """One at a time per owner, for what reads records, decides and commits."""

    def hold(self, *names: str) -> AbstractAsyncContextManager[None]:
        """Hold the locks of all `names`."""
        ...


class Accounts(Protocol):
    """Accounts are made, changed and deleted here."""

    def exists(self, jid: JID) -> Awaitable[bool]: ...
    def create(
        self,
        jid: JID,
        password: str | None,
        stranger: bool = False,
        writes: Sequence[Write] = (),
        disabled: str = "",
    ) -> Awaitable[None]:
        """Make an account. `password`: None for one that a source outside lets in. `stranger`: it registers itself.
        `writes`: committed with it, behind it. `disabled`: why nobody signs in to it yet, "" if
        somebody may. Raises StanzaError, StorageUnavailable."""
        ...

    def set_password(self, jid: JID, password: str, keep: Any = None, end_others: bool = True) -> Awaitable[None]:
        """Change a password; `end_others`: end all sessions but `keep`, and all tokens but those of its client. Raises
        StanzaError, StorageUnavailable."""
        ...

    def add_keys(self, jid: JID, keys: Sequence[ScramKeys], credentials: Credentials) -> Awaitable[None]:
        """Add keys for further hashes to `credentials`, if those still hold. Raises StorageUnavailable."""
        ...

    def add_missing_keys(self, jid: JID, password: str, credentials: Credentials) -> Coroutine[Any, Any, None]:
        """Make what an account lacks of its password, which fits `credentials`."""
        ...

    def set_disabled(
        self,
        jid: JID,
        disabled: bool,
        keep: Any = None,
        writes: Sequence[Write] = (),
        reason: str = ADMINISTRATOR,
    ) -> Awaitable[None]:
        """Whether nobody can sign in. All sessions but `keep`, and all tokens, end then; `writes`: committed with
        it. `reason`: who is not an administrator has a name for his own, and takes back nothing but that one."""
        ...

    def is_disabled(self, jid: JID, reason: str = "") -> Awaitable[bool]:
        """`reason`: for that one, among others perhaps."""
        ...

    def delete(self, jid: JID, keep: Any = None) -> Awaitable[None]: ...
    def release(self, jid: JID) -> Awaitable[None]:
        """The name of a removed account may be taken again."""
        ...

    def reserved(self) -> Collection[str]:
        """Bare JIDs that nobody may register."""
        ...

    def list(self, domain: str, after: str = "") -> Awaitable[list[str]]:
        """A page of bare JIDs behind `after`."""
        ...


class SessionManager(Protocol):
    """Sessions come and go."""

    @property
    def detached(self) -> Mapping[Any, float]:
        """Until when (monotonic) a detached session waits for its client."""
        ...

    def bind(self, account: Any, wanted: str, stream: Any) -> Any:
        """A new session. Raises BadRequest, ResourceConstraint."""
        ...

    def attach(self, session: Any, stream: Any) -> None: ...
    def resumed(self, session: Any) -> None: ...
    def end(self, session: Any, condition: str = "", text: str = "") -> None: ...
    def detach(self, session: Any) -> None: ...
    def leave(self, session: Any) -> None:
        """The process ends; the session may be resumed in the next one."""
        ...

    def restore(self, session: Any, until: float) -> None:
        """A session that outlived the last process is there again, detached."""
        ...


class Poster(Protocol):
    """Requests to the web, guarded against our own network."""

    def may_reach(self, host: str) -> bool: ...
    def post(
        self, url: str, body: bytes, headers: Mapping[str, str], private: bool = False, within: float = 0
    ) -> Awaitable[int]:
        """POST; the status, 0 for no answer. `private`: also into our own network. `within`: seconds for all of it, 0
        for the usual time."""
        ...

    def fetch(
        self,
        url: str,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        private: bool = False,
        within: float = 20.0,
        most: int = 1 << 20,
    ) -> Awaitable[tuple[int, bytes]]:
        """GET, or POST of a form; the status and the body (of `most` bytes) `within` seconds. `private`: also from
        addresses of our own network. Raises OSError."""
        ...


class ClientStreamHandle(StreamInternals, Protocol):
    """The stream that a session is attached to."""

    client: str
    """See `NegotiatingStream.client`."""

    @property
    def secure(self) -> bool: ...

    @property
    def peer(self) -> str:
        """IP address."""
        ...

    @property
    def write(self) -> Callable[[bytes], None]: ...

    def end(self, condition: str, text: str = "") -> None:
        """Send a stream error and close."""
        ...

    def close(self) -> None: ...
