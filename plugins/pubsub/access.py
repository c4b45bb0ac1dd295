"""Who may do what with a node: pure decisions (XEP-0060 sections 4.1, 4.5)."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from xmppd.contracts.roster import RosterItem
from xmppd.errors import FeatureNotImplemented, Forbidden, NotAllowed, NotAuthorized, StanzaError
from xmppd.plugin import JID

from .model import AFFILIATIONS, ERRORS_NS, Affiliation, Node, Settings

Contact = Callable[[str], RosterItem | None]
"""The owner's roster item of a bare JID."""


class Reading(enum.Enum):
    """How a node answers a reader. Beside YES and PENDING each is an error of section 6.1.3 or 6.5.9."""

    YES = "yes"
    PENDING = "pending"
    """The owner must approve first."""
    OUTCAST = "outcast"
    PRESENCE = "presence-subscription-required"
    GROUP = "not-in-roster-group"
    CLOSED = "closed-node"


@dataclass(frozen=True, slots=True)
class Asker:
    """`jid`: who asks. `affiliation`: with the node. `stranger`: may not know that the owner exists."""

    jid: JID
    affiliation: Affiliation
    stranger: bool


def affiliation(node: Node, jid: JID, master: bool) -> Affiliation:
    """`master`: it is the account itself, or an administrator of the service."""
    if master:
        return Affiliation.OWNER
    return AFFILIATIONS.get(node.affiliations.get(jid.bare, ""), Affiliation.NONE)


def reading(node: Node, settings: Settings, who: Asker, contact: Contact) -> Reading:
    """Whether someone may retrieve items, subscribe and be notified."""
    if who.affiliation is Affiliation.OUTCAST:
        return Reading.OUTCAST
    if who.affiliation is Affiliation.OWNER or who.affiliation in (Affiliation.MEMBER, Affiliation.PUBLISHER):
        return Reading.YES
    model = settings.text("access_model")
    if model == "open":
        return Reading.YES
    if model == "presence":
        item = contact(who.jid.bare)
        return Reading.YES if item is not None and item.sees_us else Reading.PRESENCE
    if model == "roster":
        item = contact(who.jid.bare)
        groups = settings.values["roster_groups_allowed"]
        allowed = item is not None and item.sees_us and not set(item.groups).isdisjoint(groups)
        return Reading.YES if allowed else Reading.GROUP
    if model == "authorize":
        approved = any(
            subscription.state == "subscribed" and jid.partition("/")[0] == who.jid.bare
            for jid, subscription in node.subscriptions.items()
        )
        return Reading.YES if approved else Reading.PENDING
    return Reading.CLOSED


def refusal(found: Reading) -> StanzaError:
    """The error for a reader (section 6.5.9)."""
    if found is Reading.OUTCAST:
        return Forbidden()
    if found is Reading.CLOSED:
        return NotAllowed(extra=(ERRORS_NS, "closed-node"))
    if found is Reading.PENDING:
        return NotAuthorized("the owner has not approved your subscription", (ERRORS_NS, "not-subscribed"))
    return NotAuthorized(extra=(ERRORS_NS, found.value))


def may_publish(node: Node, settings: Settings, who: Asker) -> bool:
    """Section 7.1.3."""
    if who.affiliation in (Affiliation.OWNER, Affiliation.PUBLISHER, Affiliation.PUBLISH_ONLY):
        return True
    if who.affiliation is Affiliation.OUTCAST:
        return False
    model = settings.text("publish_model")
    if model == "open":
        return True
    return model == "subscribers" and any(
        subscription.state == "subscribed" and jid.partition("/")[0] == who.jid.bare
        for jid, subscription in node.subscriptions.items()
    )


def keeps_items(settings: Settings) -> None:
    """Sections 6.5.9.4, 7.2.3.5 and 8.5.3.3. Raises FeatureNotImplemented."""
    if not settings.flag("persist_items"):
        raise FeatureNotImplemented(extra=(ERRORS_NS, "unsupported", {"feature": "persistent-items"}))
