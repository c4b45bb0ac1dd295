"""Lists of senders of spam and abuse that others publish (RTBL, https://xmppbl.org/dev), followed by this server.

An item of such a node is named by the SHA-256 of a bare JID, or of a domain; lists of domains name them as they are.
Here is who is refused what: `followed` keeps one list, the rooms ask `keeps_out` (`plugins/muc/block_lists`).
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec

from xmppd.cache import BESIDE, Cache
from xmppd.contracts.admin import Argument, Code, Note, OperationError, Result, operation
from xmppd.contracts.block_lists import BLOCK_LISTS, LISTED
from xmppd.contracts.pubsub import PUBSUB, PubSub
from xmppd.contracts.roster import ROSTER
from xmppd.contracts.routing import HOST_MESSAGE, INBOUND
from xmppd.errors import MalformedJid, PolicyViolation
from xmppd.plugin import JID, E, Inbound, Kind, Plugin, Stage, Stanza, Verdict, on
from xmppd.stanza import SUBSCRIPTIONS
from xmppd.storage.api import Write
from xmppd.xep.speakers import ROOM_TAG, speakers

from .followed import EVENT_NS, EVENT_TAG, FIRST, WRITES, Followed, digests
from .model import REPORTING_NS, Config, FollowedList, ListConfig, ListEntry, digest

__all__ = ["BlockListsPlugin"]
SENDERS: Final = 20_000
SENDERS_BYTES: Final = 8 << 20
TELL_AFTER: Final = 1.0
"""Seconds: the rooms look through their occupants once for all entries that have come meanwhile."""
NODE_OPTIONS: Final = {"pubsub#access_model": "open", "pubsub#max_items": "max", "pubsub#persist_items": "1"}
"""Of the node that is made when the first entry is published."""


class Reason(enum.StrEnum):
    """Why somebody is listed (XEP-0377 section 5)."""

    SPAM = "spam"
    ABUSE = "abuse"


class FollowedListState(msgspec.Struct, frozen=True):
    """`read`: when it was read last, UTC, ISO 8601, or "". `problem`: why it could not be read since, or "".
    `listed`: of the address that was asked for, why it is on this list; None if it is not, or none was asked for."""

    service: str
    node: str
    entries: int
    hits: int
    subscribed: bool
    read: str
    problem: str
    listed: str | None = None

    def lines(self) -> Iterable[str]:
        """For people."""
        yield f"{self.service} {self.node}: {self.entries} entries, {self.hits} hits"
        yield f"  {'subscribed' if self.subscribed else 'not subscribed'}, read {self.read or 'never'}"
        if self.problem:
            yield f"  problem: {self.problem}"
        if self.listed is not None:
            yield f"  the address is on it{f' ({self.listed})' if self.listed else ''}"


class FollowedListStates(Result, frozen=True):
    """`refused`: whether it comes to anything that the address is listed: it is neither of this server nor exempt."""

    lists: tuple[FollowedListState, ...]
    address: str = ""
    refused: bool = False

    def text(self) -> str:
        lines = [line for each in self.lists for line in each.lines()]
        if self.address:
            lines.append(f"{self.address} is {'refused' if self.refused else 'not refused'}.")
        return "\n".join(lines) or "No list is followed."


class BlockListsPlugin(Plugin[Config]):
    """Implements `contracts.block_lists.BlockLists`."""

    standard = False
    provides = (BLOCK_LISTS,)

    def setup(self) -> None:
        self.stored_lists = self.host.storage.map("block-lists", FollowedList)
        self.stored_entries = self.host.storage.map("block-list-entry", ListEntry)
        self.lists: dict[str, Followed] = {}
        self.exempt: frozenset[str] = frozenset()
        self.senders: Cache[str, tuple[Followed, ...]] = Cache(
            SENDERS, SENDERS_BYTES, lambda bare, found: BESIDE + len(bare)
        )
        self._telling = False

    async def start(self) -> None:
        stored = await self.stored_lists.read_all(self.host.domain)
        keys = list(await self.stored_entries.read_all(self.host.domain)) if stored or self.config.lists else []
        self._follow()
        for each in self.lists.values():
            each.restore(stored.get(each.id), digests(keys, each.id))
        self._count()
        for id, left in stored.items():
            if id not in self.lists:
                self.spawn(self._leave(id, left, [key for key in keys if key.startswith(f"{id}/")]), "leave")

    async def stop(self) -> None:
        for each in self.lists.values():
            each.end()

    def reconfigured(self) -> None:
        """Lists that are there before and after go on; of the others what is stored goes."""
        before = dict(self.lists)
        self._follow()
        for id, old in before.items():
            if id not in self.lists:
                old.end()
                old.unsubscribe()
                self.spawn(old.forget(), "forget")
        self.changed(True)

    def _follow(self) -> None:
        """Follows what the configuration says."""
        before, self.lists = self.lists, {}
        self.exempt = frozenset(JID.parse(each).bare for each in self.config.exempt)
        for wanted in self.config.lists:
            known = before.get(wanted.id)
            if known is None:
                known = self._made(wanted)
            known.config, known.most, known.interval = wanted, self.config.entries, self.config.refresh
            self.lists[known.id] = known

    def _made(self, wanted: ListConfig) -> Followed:
        return Followed(
            self.host,
            wanted,
            self.stored_lists,
            self.stored_entries,
            self.spawn,
            self.changed,
            self.config.entries,
            self.config.refresh,
        )

    async def _leave(self, id: str, left: FollowedList, keys: list[str]) -> None:
        """A list that the last process followed, and this one does not."""
        gone = self._made(ListConfig(service=left.service, node=left.node))
        gone.end()
        self.host.clock.call_later(FIRST, gone.unsubscribe)
        for start in range(0, len(keys), WRITES):
            writes: list[Write] = [
                self.stored_entries.delete(self.host.domain, key) for key in keys[start : start + WRITES]
            ]
            await self.host.storage.commit(writes)
        await self.host.storage.commit([self.stored_lists.delete(self.host.domain, id)])

    # ---- changes

    def changed(self, more: bool) -> None:
        """Entries have come, or have only gone."""
        self._count()
        if more and not self._telling:
            self._telling = True
            self.host.clock.call_later(TELL_AFTER, self._tell)

    def _count(self) -> None:
        self.senders.clear()
        self.empty = not any(each.entries for each in self.lists.values())

    def _tell(self) -> None:
        self._telling = False
        for host in self.host.router.routes.hosts():
            host.tell(LISTED, self.host.jid)

    @on(HOST_MESSAGE, tags=(EVENT_TAG,))
    def event(self, stanza: Stanza) -> None:
        """What a publisher tells its subscribers. Others who say such things are not heard: a stream proves the
        sender's domain, and only the service itself has this address."""
        event = stanza.child(EVENT_NS, "event")
        if event is None or stanza.sender is None or stanza.type == "error":
            return
        for each in self.lists.values():
            if stanza.sender == each.service and each.subscribed:
                each.heard(event)

    # ---- who is listed

    def _lists_of(self, who: JID) -> tuple[Followed, ...]:
        """The lists that have an address, or its domain."""
        found = self.senders.get(who.bare)
        if found is None:
            found = self._looked_up(who)
            self.senders.put(who.bare, found)
        return found

    def _looked_up(self, who: JID) -> tuple[Followed, ...]:
        if who.bare in self.exempt or who.domain in self.exempt or self.host.router.routes.serves(who.domain):
            return ()
        names = {digest(who.bare), digest(who.domain)}
        return tuple(each for each in self.lists.values() if not names.isdisjoint(each.entries))

    def keeps_out(self, who: JID) -> bool:
        """See contracts.block_lists."""
        return not self.empty and any(each.config.rooms for each in self._lists_of(who))

    def kept_out(self, who: JID) -> None:
        """See contracts.block_lists."""
        for each in self._lists_of(who):
            each.hits += each.config.rooms

    def refuses(self, domain: str) -> bool:
        """See contracts.block_lists."""
        return not self.empty and any(each.config.streams for each in self._lists_of(JID.of("", domain)))

    def numbers(self) -> Iterable[tuple[str, int, int]]:
        """See contracts.block_lists."""
        return [(each.config.name, len(each.entries), each.hits) for each in self.lists.values()]

    # ---- what comes to accounts

    def _speaks_from_elsewhere(self, stanza: Stanza) -> bool:
        """Whether somebody who is not of this server may speak: as the sender, or through a room of this server."""
        if self.empty or stanza.sender is None or stanza.answers:
            return False
        if stanza.kind is Kind.MESSAGE and ROOM_TAG in stanza.tags:
            return True
        return not self.host.router.routes.is_local(stanza.sender.domain)

    def _concerned(self, stanza: Stanza) -> Collection[str] | None:
        """Who of many recipients is to be asked: nobody, for what somebody of this server says."""
        return None if self._speaks_from_elsewhere(stanza) else ()

    @on(INBOUND, Stage.BLOCK, (Kind.MESSAGE, Kind.PRESENCE), recipients_of=_concerned)
    def incoming(self, event: Inbound) -> Verdict | None:
        """What a listed stranger says to somebody who has it not in the contact list: presence is dropped, a message
        is refused. What a room says to who is in it comes: it is the room that is entered by choice."""
        stanza = event.stanza
        if not self._speaks_from_elsewhere(stanza):
            return None
        for who in speakers(stanza):
            found = next((each for each in self._lists_of(who) if each.config.strangers), None)
            if found is None or self._is_known(event, who) or _is_of_entered_room(stanza):
                continue
            found.hits += 1
            if stanza.kind is Kind.PRESENCE:
                return Verdict.DROP
            raise PolicyViolation(f"{who.bare} is on the block list {found.service}, which this server follows")
        return None

    def _is_known(self, event: Inbound, who: JID) -> bool:
        """Whether it is a contact, or its domain is (a gateway)."""
        roster = self.host.find(ROSTER)
        if roster is None:
            return False
        items = (roster.item(event.owner.bare, name) for name in (who.bare, who.domain))
        return any(item is not None and item.listed for item in items)

    # ---- administration

    @operation("block-list.list", "List the block lists that are followed, and whether an address is on them.")
    async def list_(
        self, address: Annotated[str, Argument("An account or a domain: whether it is on them.", positional=True)] = ""
    ) -> FollowedListStates:
        who = _address(address) if address else None
        states = []
        for each in self.lists.values():
            states.append(
                FollowedListState(
                    each.service.full,
                    each.config.node,
                    len(each.entries),
                    each.hits,
                    each.subscribed,
                    f"{datetime.fromtimestamp(each.complete, UTC):%Y-%m-%dT%H:%M:%SZ}" if each.complete else "",
                    each.problem,
                    await _why(each, who),
                )
            )
        if who is None:
            return FollowedListStates(tuple(states))
        return FollowedListStates(tuple(states), who.bare, bool(self._lists_of(who)))

    @operation("block-list.refresh", "Subscribe to the block lists again, and read them now.")
    async def refresh(self) -> Note:
        if not self.lists:
            raise OperationError("no list is followed (plugins: block_lists: lists)", Code.NOT_FOUND)
        for each in self.lists.values():
            await each.refresh()
        failed = [f"{each.config.name}: {each.problem}" for each in self.lists.values() if each.problem]
        if failed:
            raise OperationError("; ".join(failed))
        return Note(f"{len(self.lists)} read, {sum(len(each.entries) for each in self.lists.values())} entries.")

    @operation("block-list.add", "Publish an account or a domain on the block list of this server.")
    async def add(
        self,
        address: Annotated[str, Argument("The account or the domain.")],
        reason: Annotated[Reason, Argument("Why.")] = Reason.SPAM,
        text: Annotated[str, Argument("The same in words, for the administrators who follow the list.")] = "",
    ) -> Note:
        who, (nodes, service) = _address(address), self._publishing()
        report = E("report", REPORTING_NS, {"reason": f"urn:xmpp:reporting:{reason}"})
        if text:
            report.append(E("text", REPORTING_NS, {}, text))
        id = digest(who.bare).hex()
        await nodes.publish(service, self.config.publish_node, id, report, NODE_OPTIONS)
        return Note(f"{who.bare} is on {service} {self.config.publish_node}.")

    @operation("block-list.remove", "Take an account or a domain off the block list of this server.")
    async def remove(self, address: Annotated[str, Argument("The account or the domain.")]) -> Note:
        who, (nodes, service) = _address(address), self._publishing()
        id = digest(who.bare).hex()
        if await nodes.item(service, self.config.publish_node, id) is None:
            raise OperationError(f"{who.bare} is not on {service} {self.config.publish_node}", Code.NOT_FOUND)
        await nodes.retract(service, self.config.publish_node, (id,))
        return Note(f"{who.bare} is off {service} {self.config.publish_node}.")

    def _publishing(self) -> tuple[PubSub, JID]:
        """Raises OperationError."""
        wanted = self.config.publish_at
        routes = self.host.router.routes
        nodes = routes.service(wanted, PUBSUB) if wanted and not routes.serves_accounts(wanted) else None
        if nodes is None:
            what = f"{wanted} is no host of type pubsub" if wanted else "nothing is said of where"
            raise OperationError(f"{what} (plugins: block_lists: publish_at)", Code.NOT_FOUND)
        return nodes, JID.parse(wanted)


def _address(text: str) -> JID:
    """A bare JID. Raises OperationError."""
    try:
        return JID.parse(text).to_bare()
    except MalformedJid as error:
        raise OperationError(f"{text[:100]}: {error}", Code.INVALID) from None


async def _why(followed: Followed, address: JID | None) -> str | None:
    """Raises StorageUnavailable."""
    for name in (address.bare, address.domain) if address is not None else ():
        if digest(name) in followed.entries:
            return await followed.reason(digest(name))
    return None


def _is_of_entered_room(stanza: Stanza) -> bool:
    """To a device, whose address a stranger does not know: what a room sends its occupants."""
    if stanza.to is None or not stanza.to.resource:
        return False
    if stanza.kind is Kind.PRESENCE:
        return stanza.type not in SUBSCRIPTIONS
    return stanza.type == "groupchat"
