"""Accounts: what is stored of them and what others hear of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from ..hooks import Collect, Notify
from ..jid import JID
from ..protocol.sasl import Credentials
from ..storage.api import Write

ACCOUNT_MAP: Final = "account"
"""The cached map that makes an account exist: its key "" holds a StoredAccount."""


ADMINISTRATOR: Final = "administrator"
"""The reason for which an administrator disables an account. Whoever else disables one has a name of his own for why,
and takes back nothing but that."""
TAKEN: Final = "this name, or one that looks like it, is taken"
"""What a stranger who wants a name hears, whatever the reason."""


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """SCRAM keys only, never a password. `created`: seconds since 1970 UTC. `incarnation`: random, tells the account
    from former ones of its name; "" for accounts from before there was such a thing. `disabled_by`: why nobody may sign
    in, as long as there is any reason; empty for a disabled account from before there was such a thing."""

    credentials: Credentials
    created: float = 0.0
    incarnation: str = ""
    disabled_by: tuple[str, ...] = ()

    def disabled_for(self, reason: str) -> bool:
        """Whether that is why nobody may sign in; of an old record it may be."""
        return self.credentials.disabled and (not self.disabled_by or reason in self.disabled_by)

    def changed(self, disabled: bool, reason: str) -> StoredAccount:
        """With one reason more or less. An administrator who enables an account takes all of them away."""
        before = self.disabled_by or ((ADMINISTRATOR,) if self.credentials.disabled and disabled else ())
        after = () if reason == ADMINISTRATOR and not disabled else tuple(each for each in before if each != reason)
        after = (*after, reason) if disabled else after
        generation = self.credentials.generation + disabled
        credentials = replace(self.credentials, disabled=bool(after), generation=generation)
        return replace(self, credentials=credentials, disabled_by=after)


@dataclass(frozen=True, slots=True)
class CredentialsChange:
    """What was issued to clients of an account (tokens) ends with this change of its password or its state.

    `keep`: the session that asked for it, whose client stays signed in, if there is one. `generation`: of the new
    credentials (`Credentials.generation`).
    """

    jid: JID
    generation: int
    keep: Any = None


CREDENTIALS_CHANGE = Collect[CredentialsChange, Write]("credentials-change", plain=True)
"""Writes that are committed with the new credentials. The account is in memory if `keep` is not None."""


RESERVED_ADDRESSES = Collect[JID, JID]("reserved-addresses", plain=True)
"""Bare JIDs to which the options of a plugin give rights or duties (gets the domain of the host). Together with the
`admins` of all hosts, nobody who registers can take them; an administrator can."""

ACCOUNT_CREATED = Notify[JID]("account-created")
"""An account was made, by a registration or by an administrator; after the commit."""

ACCOUNTS_REMOVED = Notify[frozenset[str]]("accounts-removed")
"""Some accounts (their bare JIDs) are on their way out: whatever gives them a right, or would give it to who takes the
name next, must go: affiliations, subscriptions, approvals, files. Every host of the server is asked, whatever its type,
also for accounts of other domains, and is waited for.

Part of a job that survives a crash. A handler reads the store, since what concerns an account need not be in memory; it
returns when all is committed, and raises (StorageUnavailable) when it could not do its part. Then, and after a crash,
it is asked again, so it must be able to find its work half done or done. The accounts cannot sign in any more; what
they own themselves is still there, and is deleted by the core at the end. What others have against the name (blocks,
bans) stays: it is theirs."""

ACCOUNT_DELETED = Notify[JID]("account-deleted")
"""The end of it: the store has deleted all that the account owned. For what is kept in memory only."""
