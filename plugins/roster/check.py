"""Whether the two sides of each subscription agree (`xmppd store check`)."""

from __future__ import annotations

from collections.abc import Iterator

from xmppd.contracts.roster import RosterItem
from xmppd.contracts.store_check import AccountCheck, in_map
from xmppd.errors import MalformedJid
from xmppd.jid import JID
from xmppd.plugin import Host
from xmppd.storage.api import Map

SUBSCRIPTIONS = ("none", "to", "from", "both")


async def check_roster(account: AccountCheck, items: Map[RosterItem], host: Host) -> None:
    """Of one account; the contacts' side is looked at where it is on this server. Raises StorageUnavailable."""
    owner, store = account.bare, account.store
    for contact, item in (await items.read_all(owner)).items():
        where = in_map(items.name, contact)
        for what in item_problems(item):
            store.problem(owner, where, what)
        try:
            JID.parse(contact)
        except MalformedJid:
            store.problem(owner, where, "it is about no address")
            continue
        if contact == owner or not host.router.routes.is_account(contact):
            continue
        there = await store.has_account(contact)
        other = await items.read_stored(contact, owner) if there else None
        for what in disagreements(item, other, there):
            store.problem(owner, where, what)
        if there and item.we_see and not _sees(other):
            # A kill between the commits of the two: the contact's side answers the next probe (RFC 6121 section 4.3.2).
            store.note(owner, where, "the contact knows of no subscription; it ends at the account's next sign-in")


def item_problems(item: RosterItem) -> Iterator[str]:
    """What is no state of RFC 6121 appendix A."""
    if item.subscription not in SUBSCRIPTIONS:
        yield f"there is no subscription {item.subscription!r}"
    if item.ask and item.we_see:
        yield "it asks for what it has"
    if item.pending_in and item.sees_us:
        yield "it is asked for what is granted"
    if not item.listed and (not item.pending_in or item.subscription != "none" or item.ask):
        yield "it is in no list, and more than a request"


def disagreements(item: RosterItem, other: RosterItem | None, there: bool) -> Iterator[str]:
    """`other`: the contact's item about the owner. `there`: the contact exists."""
    if not there:
        if item.sees_us or item.we_see or item.pending_in or item.approved:
            yield f"a subscription ({item.subscription}), with an account that is not there"
        return
    waits = other is not None and other.ask  # asked again at the contact's next sign-in (section 3.1.2)
    if item.sees_us and not (other is not None and other.we_see) and not waits:
        yield f"the contact has a subscription from here ({item.subscription}), and does not know of it"


def _sees(other: RosterItem | None) -> bool:
    return other is not None and other.sees_us
