"""A publish-subscribe service, as its requests see it."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Literal, Protocol

from xmppd.config import Size, option
from xmppd.errors import ItemNotFound
from xmppd.plugin import JID, Element, Request

from .access import Asker
from .model import Node
from .nodes import Nodes
from .notify import Notifier


class NoSuchNode(ItemNotFound):
    """Profanity (0.13.1) announces its OMEMO device when it has no list of them yet, which it knows by this number."""

    code = "404"

    def __init__(self) -> None:
        super().__init__("there is no such node")


@dataclass(frozen=True)
class Config:
    item_size: Size = option(Size("256 KiB"), "Bytes of one item.", low=1024, high=1 << 24)
    items: int = option(1000, "The most items of one node: what `max` stands for.", low=1, high=1_000_000)
    nodes: int = option(250, "Nodes of one account.", low=1, high=100_000)
    nodes_in_all: int = option(10_000, "Nodes of a service host.", low=1, high=1_000_000)
    subscriptions: int = option(1000, "Subscriptions, and affiliations, of one node.", low=1, high=100_000)
    create: Literal["anyone", "local", "admins"] = option(
        "local", "Who may make nodes on a service host: anyone, people with an account here, or its admins."
    )


@dataclass(slots=True)
class Ask:
    """A request to the nodes of `owner`. `verb`: the element that says what is wanted; `name`: the node, or ""."""

    request: Request
    owner: str
    verb: Element
    name: str
    stranger: bool

    @property
    def sender(self) -> JID:
        return self.request.sender


class Service(Nodes, Protocol):
    """What a request may use."""

    config: Config

    @property
    def notifier(self) -> Notifier: ...
    def asker(self, ask: Ask, node: Node) -> Asker: ...
    def node(self, ask: Ask) -> Node:
        """Raises ItemNotFound, BadRequest without a name."""
        ...

    def opened(self, owner: JID) -> Awaitable[bool]:
        """Loads the records of an owner; whether there is such an owner."""
        ...
