"""Devices that want to be woken, and their notifications."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from xmppd.contracts.messages import Push
from xmppd.xep.forms import Field, form
from xmppd.xml import E, Element, parse

NS: Final = "urn:xmpp:push:0"
WEB_FORM: Final = "urn:xmppd:webpush:0"
"""The form with the server's key in service discovery."""
SUMMARY: Final = "urn:xmpp:push:summary"
PUBSUB_NS: Final = "http://jabber.org/protocol/pubsub"
OPTIONS: Final = "http://jabber.org/protocol/pubsub#publish-options"
PERMANENT: Final = frozenset(
    ("item-not-found", "gone", "forbidden", "not-allowed", "not-authorized", "jid-malformed", "bad-request")
)
"""Conditions after which a device is not asked again (section 7.1)."""


@dataclass(frozen=True, slots=True)
class Device:
    """`jid`, `node`: the app server's. `options`: its form as text, "" for none. `resource`: the session's that enabled
    it. `failures`: notifications in a row that could not be delivered."""

    jid: str
    node: str
    options: str = ""
    resource: str = ""
    failures: int = 0

    @property
    def key(self) -> str:
        return f"{self.jid}\n{self.node}"


@dataclass(frozen=True, slots=True)
class Job:
    """A notification that a device is to get. `level`: of `Push`. `due`: seconds since 1970 UTC. `sender`: the last
    message's. `group`: there is one of a room among them, of which no list of the unread tells."""

    level: int
    due: float
    attempts: int = 0
    sender: str = ""
    body: str = ""
    group: bool = False


def merged(old: Job | None, new: Job) -> Job:
    """One notification for both: the more urgent level, the earlier time, the later message."""
    if old is None:
        return new
    level, group = max(old.level, new.level), old.group or new.group
    return Job(level, min(old.due, new.due), old.attempts, new.sender, new.body, group)


def notification(device: Device, job: Job, count: int, sender: bool, body: bool) -> Element:
    """Section 7: the publish request. What was said and by whom only if the administrator wants it."""
    fields = [Field("message-count", values=(str(count),))]
    if sender and job.sender:
        fields.append(Field("last-message-sender", "jid-single", values=(job.sender,)))
    if body and job.body:
        fields.append(Field("last-message-body", values=(job.body,)))
    priority = "high" if job.level >= Push.ALERT else "low"
    content = E(
        "notification",
        NS,
        {},
        form("submit", SUMMARY, fields),
        E("priority", "tigase:push:priority:0", {}, priority),
    )
    publish = E("publish", PUBSUB_NS, {"node": device.node} if device.node else {}, E("item", PUBSUB_NS, {}, content))
    options = E("publish-options", PUBSUB_NS, {}, parse(device.options.encode())) if device.options else None
    return E("pubsub", PUBSUB_NS, {}, publish, options)
