"""A node: what is stored of it, and its configuration (XEP-0060 sections 4.5, 8.2 and 16.4.4)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from xmppd.errors import Conflict, FeatureNotImplemented, NotAcceptable
from xmppd.plugin import Element
from xmppd.xep.forms import Field, Submitted, form

NS: Final = "http://jabber.org/protocol/pubsub"
OWNER_NS: Final = f"{NS}#owner"
EVENT_NS: Final = f"{NS}#event"
ERRORS_NS: Final = f"{NS}#errors"
CONFIG: Final = f"{NS}#node_config"
OPTIONS: Final = f"{NS}#publish-options"
META: Final = f"{NS}#meta-data"
AUTHORIZE: Final = f"{NS}#subscribe_authorization"
MAX: Final = "max"


class Affiliation(enum.IntEnum):
    """Section 4.1, by rising rights; an outcast is below all."""

    OUTCAST = -1
    NONE = 0
    MEMBER = 1
    PUBLISH_ONLY = 2
    PUBLISHER = 3
    OWNER = 4

    @property
    def text(self) -> str:
        return self.name.lower().replace("_", "-")


AFFILIATIONS: Final = {each.text: each for each in Affiliation}


@dataclass(frozen=True, slots=True)
class Subscription:
    """`state`: "subscribed" or "pending" (section 4.2)."""

    state: str = "subscribed"
    id: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """By owner and name. `options`: what differs from the defaults, as values of form fields without `pubsub#`.

    `affiliations`, `subscriptions`: by JID; a key of `subscriptions` may be a full one.
    """

    created: float = 0.0
    creator: str = ""
    options: dict[str, tuple[str, ...]] = field(default_factory=dict)
    affiliations: dict[str, str] = field(default_factory=dict)
    subscriptions: dict[str, Subscription] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Option:
    """One field of the form. `kind`: "bool", "text", "list", "texts" or "number" (a number or `max`)."""

    label: str
    kind: str
    values: tuple[str, ...] = ()


ACCESS: Final = ("open", "presence", "roster", "authorize", "whitelist")
OPTION_TABLE: Final[Mapping[str, Option]] = {
    "title": Option("A name for people", "text"),
    "description": Option("What it is about", "text"),
    "type": Option("The namespace of its items", "text"),
    "access_model": Option("Who may read and subscribe", "list", ACCESS),
    "roster_groups_allowed": Option("Roster groups that may, with the access model roster", "texts"),
    "publish_model": Option("Who may publish", "list", ("publishers", "subscribers", "open")),
    "persist_items": Option("Items are kept", "bool"),
    "max_items": Option("How many items are kept, or max", "number"),
    "item_expire": Option("Seconds after which an item is deleted, or max", "number"),
    "max_payload_size": Option("Bytes of one item", "number"),
    "send_last_published_item": Option(
        "When the last item is sent", "list", ("never", "on_sub", "on_sub_and_presence")
    ),
    "deliver_notifications": Option("Subscribers are notified", "bool"),
    "deliver_payloads": Option("Notifications hold the items", "bool"),
    "notify_retract": Option("Tell when an item is deleted", "bool"),
    "notify_delete": Option("Tell when the node is deleted", "bool"),
    "notify_config": Option("Tell when the configuration changes", "bool"),
    "notification_type": Option("The type of notifications", "list", ("headline", "normal")),
    "itemreply": Option("Items name their publisher", "list", ("publisher", "none")),
    "node_type": Option("What it holds", "list", ("leaf",)),
}

_COMMON: Final = {
    "title": (),
    "description": (),
    "type": (),
    "roster_groups_allowed": (),
    "publish_model": ("publishers",),
    "persist_items": ("1",),
    "item_expire": (MAX,),
    "max_payload_size": (MAX,),
    "deliver_notifications": ("1",),
    "deliver_payloads": ("1",),
    "notify_retract": ("1",),
    "notify_delete": ("1",),
    "notify_config": ("0",),
    "notification_type": ("headline",),
    "node_type": ("leaf",),
}
PERSONAL: Final = {
    **_COMMON,
    "access_model": ("presence",),
    "max_items": ("1",),
    "send_last_published_item": ("on_sub_and_presence",),
    "itemreply": ("none",),
}
"""XEP-0163 section 3 and 4.3.4: contacts read it, and have the last item at once."""
SERVICE: Final = {
    **_COMMON,
    "access_model": ("open",),
    "max_items": (MAX,),
    "send_last_published_item": ("on_sub",),
    "itemreply": ("publisher",),
}
_PRIVATE: Final = {
    "access_model": ("whitelist",),
    "max_items": (MAX,),
    "send_last_published_item": ("never",),
}
WELL_KNOWN: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "storage:bookmarks": {"access_model": ("whitelist",)},  # XEP-0048 section 3
    "urn:xmpp:bookmarks:1": _PRIVATE,  # XEP-0402 section 3
    "urn:xmpp:mds:displayed:0": _PRIVATE,  # XEP-0490 section 3
    "urn:xmpp:microblog:0": {"max_items": (MAX,)},  # XEP-0277
    "urn:xmpp:pubsub-social-feed:stories:0": {"max_items": (MAX,), "item_expire": ("86400",)},  # XEP-0501
}
"""What the nodes of an account begin with where their XEP says it, if the publisher asks for nothing else."""


def initial(name: str, personal: bool) -> dict[str, tuple[str, ...]]:
    """The options that a new node begins with, beside the defaults."""
    return dict(WELL_KNOWN.get(name, {})) if personal else {}


class Settings:
    """The configuration of a node as the rules need it."""

    __slots__ = ("personal", "values")

    def __init__(self, options: Mapping[str, tuple[str, ...]], personal: bool) -> None:
        self.personal = personal
        self.values = {**(PERSONAL if personal else SERVICE), **options}

    def text(self, name: str) -> str:
        values = self.values[name]
        return values[0] if values else ""

    def flag(self, name: str) -> bool:
        return self.text(name) == "1"

    @property
    def names_publisher(self) -> bool:
        """Items name who published them, in notifications and when they are retrieved (sections 7.1.2.3 and 12.13)."""
        return self.text("itemreply") == "publisher"

    @property
    def takes_items(self) -> bool:
        """Whether items have a payload: stored, or sent with the notification (section 4.3)."""
        return self.flag("persist_items") or self.flag("deliver_payloads")

    def number(self, name: str, most: int) -> int:
        text = self.text(name)
        return most if text == MAX else min(int(text), most)

    def shown(self, kind: str, form_type: str = CONFIG) -> Element:
        """The form (section 8.2.1)."""
        fields = []
        for name, about in OPTION_TABLE.items():
            types = {"bool": "boolean", "list": "list-single", "texts": "list-multi"}
            options = tuple((value, value) for value in self.choices(name)) if about.kind == "list" else ()
            type, values, open = types.get(about.kind, "text-single"), self.values[name], about.kind == "texts"
            fields.append(Field(f"pubsub#{name}", type, about.label, values, options, open=open))
        return form(kind, form_type, fields)

    def choices(self, name: str) -> tuple[str, ...]:
        if name == "access_model" and not self.personal:  # a service has no roster
            return "open", "authorize", "whitelist"
        if name == "send_last_published_item" and not self.personal:  # it does not see who comes online
            return "never", "on_sub"
        return OPTION_TABLE[name].values


def read_options(submitted: Submitted, personal: bool) -> dict[str, tuple[str, ...]]:
    """The options that a form sets. What is unknown is left out. Raises NotAcceptable, BadRequest, and
    FeatureNotImplemented for a collection (XEP-0248 section 5)."""
    settings = Settings({}, personal)
    found: dict[str, tuple[str, ...]] = {}
    for var, values in submitted.values.items():
        name = var.removeprefix("pubsub#")
        about = OPTION_TABLE.get(name)
        if about is None or not var.startswith("pubsub#"):
            continue
        if about.kind == "bool":
            found[name] = ("1" if submitted.boolean(var) else "0",)
        elif about.kind == "number":
            found[name] = (_number(submitted, var),)
        elif about.kind == "list":
            value = values[0] if values else ""
            if name == "node_type" and value == "collection":
                raise FeatureNotImplemented(extra=(ERRORS_NS, "unsupported", {"feature": "collections"}))
            if value not in settings.choices(name):
                raise NotAcceptable(f"{var} is one of {', '.join(settings.choices(name))}")
            found[name] = (value,)
        else:
            if sum(map(len, values)) > 2000:
                raise NotAcceptable(f"{var} is too long")
            found[name] = tuple(values) if about.kind == "texts" else tuple(values[:1])
    return found


def _number(submitted: Submitted, var: str) -> str:
    text = submitted.text(var)
    if text in (MAX, "", None):
        return MAX
    value = submitted.integer(var, 0, 1 << 40)
    assert value is not None
    if value == 0 and var == "pubsub#item_expire":
        return MAX
    return str(value)


def check_preconditions(submitted: Submitted, settings: Settings) -> None:
    """Publish options of a node that is there (section 7.1.5). Raises Conflict, NotAcceptable, BadRequest."""
    wanted = read_options(submitted, settings.personal)
    unknown = [var for var in submitted.values if var.removeprefix("pubsub#") not in OPTION_TABLE]
    differ = [name for name, values in wanted.items() if settings.values[name] != values]
    if unknown or differ:
        raise Conflict(
            f"not as asked: {', '.join([*unknown, *differ])}", (ERRORS_NS, "precondition-not-met"), type="cancel"
        )
