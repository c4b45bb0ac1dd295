"""Whether numbers and accounts name each other (`xmppd store check`)."""

from __future__ import annotations

from xmppd.contracts.store_check import StoreCheck, in_map
from xmppd.storage.api import Map

from .attachments import AttachedNumber, Attachment
from .codes import SHOWN


async def check_attachments(
    store: StoreCheck, domain: str, numbers: Map[Attachment], accounts: Map[AttachedNumber]
) -> None:
    """What one record says alone is worth nothing: the account has no number. Raises StorageUnavailable."""
    async for owner, number, attachment in store.records(numbers):
        own = await accounts.read_stored(attachment.account, "")
        if own is None or own.number != number:
            what = f"it is said to be that of {attachment.account}, which does not have it"
            store.problem(owner, in_map(numbers.name, number[:SHOWN]), what)
    async for account, _, attached in store.records(accounts):
        found = await numbers.read_stored(domain, attached.number)
        if found is None or found.account != account:
            whose = f"that of {found.account}" if found is not None else "nobody's"
            what = f"it is said to have the number {attached.number[:SHOWN]}, which is {whose}"
            if found is None:
                store.problem(account, accounts.name, what)
            else:  # a crash came before the former one's record was gone
                store.note(account, accounts.name, what)
