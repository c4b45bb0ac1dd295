"""The conversations of the accounts of a host: steps are noted in memory and stored about once a second."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace

from msgspec import structs

from xmppd.cache import weight
from xmppd.contracts.archive import LOG
from xmppd.contracts.inbox import CONVERSATION_READ, ConversationRead
from xmppd.contracts.pubsub import PUBSUB
from xmppd.errors import StorageUnavailable
from xmppd.plugin import JID, Account, Host, Kind, Stanza
from xmppd.stanza import look_at
from xmppd.storage.api import Entry, Flags, Range, Write

from .model import NEW, Ask, Conversation, Step, Summary, What, advance
from .reading import MDS_NODE, displayed_item

log = logging.getLogger("xmppd.inbox")

INTERVAL = 1.0
PAGE = 100
COUNTED = 1000
"""So far back the log is asked for what is unread."""
CACHED = 50_000
CACHED_BYTES = 32 << 20
"""Sums of so many owners, and so many bytes of conversations, are kept in memory."""
NOTED = 2000
"""So many steps of a conversation wait in memory. Where messages come faster than they are counted, the log tells."""
MARGIN = 10_000_000
"""Microseconds. An id is given when a message is decided, and seen when it is committed: the stored position stays this
much behind, so that none falls between. What is read again changes nothing."""

Classify = Callable[[Stanza, bool], "tuple[What, str]"]
"""What a stanza of the archive is (True: it came in), and its text for `Step`."""


class Ledger:
    def __init__(self, host: Host, classify: Classify) -> None:
        self.host = host
        self.classify = classify
        self.log = host.storage.log(LOG)
        self.conversations = host.storage.map("inbox", Conversation)
        self.summaries = host.storage.map("inbox-summary", Summary)
        self.noted: dict[Account, dict[str, list[Step]]] = {}
        self.known = Known()
        self.caught_up: OrderedDict[str, Summary] = OrderedDict()
        """Owners of whom all is counted that was in their log before `note` began to tell of all that comes."""
        self.behind: set[str] = set()
        """Owners of whom steps were forgotten since they were last counted."""
        self._timer = False

    # ---- on the path of a message

    def note(self, account: Account, peer: str, step: Step) -> None:
        """Remember it; stored later."""
        noted = self.noted.get(account)
        if noted is None:
            noted = self.noted[account] = {}
            self._arm()
        steps = noted.get(peer)
        if steps is None:
            noted[peer] = [step]
        else:
            if len(steps) >= NOTED:
                # Of what only the client has said (markers), later ones make earlier ones moot: a flood stays bounded.
                steps[:] = [each for each in steps if not _in_log(each)][-(NOTED // 2) :]
                self.behind.add(account.bare)
            steps.append(step)

    def _arm(self) -> None:
        if not self._timer:
            self._timer = True
            self.host.clock.call_later(INTERVAL, self._due)

    def _due(self) -> None:
        self._timer = False
        self.host.background.spawn(self.flush(), "inbox")

    # ---- storing

    async def flush(self) -> None:
        """Store what was noted of all accounts."""
        for account in list(self.noted):
            try:
                await self.settle(account)
            except StorageUnavailable:
                self._arm()
                return
            except Exception:
                log.exception("the inbox of %s is counted anew from the archive", account.bare)
                self.behind.add(account.bare)

    async def settle(self, account: Account) -> Summary:
        """Count all that was released to this account, and store it. Raises StorageUnavailable."""
        owner = account.bare
        async with self.host.turns.take(f"inbox {owner}"):
            # What is released from here on is noted anew: counting the log does not run after it.
            noted, until = self.noted.pop(account, {}), account.began
            behind = owner in self.behind
            if behind:
                self.behind.discard(owner)
                self.caught_up.pop(owner, None)
                until = account.released
            work = _Work(self, owner, noted)
            try:
                summary = self.caught_up.get(owner)
                if summary is None:
                    summary = await work.catch_up(until)
                elif not noted:
                    return summary
                for peer, steps in noted.items():
                    for step in steps:
                        await work.take(peer, step)
                summary = await work.summary(summary)
                if account.alive:
                    await self.host.storage.commit(work.writes(summary))
            except BaseException as error:
                if behind:
                    self.behind.add(owner)
                if isinstance(error, StorageUnavailable):
                    self._put_back(account, noted)
                raise
            work.remember(summary)
        for peer, until in work.read.items():
            self.host.tell(CONVERSATION_READ, ConversationRead(owner, peer, until))
        return summary

    def _put_back(self, account: Account, noted: dict[str, list[Step]]) -> None:
        if not noted:
            return
        later = self.noted.get(account, {})
        for peer, steps in later.items():
            noted.setdefault(peer, []).extend(steps)
        self.noted[account] = noted
        self._arm()

    def forget(self, owner: str) -> None:
        """The account is gone."""
        self.behind.discard(owner)
        self.caught_up.pop(owner, None)
        self.known.forget(owner)

    async def listed(self, account: Account, most: int) -> Mapping[str, Conversation]:
        """All conversations, by peer, at most so many: the oldest go. The sums are put right. To look at only."""
        owner = account.bare
        async with self.host.turns.take(f"inbox {owner}"):
            known = self.known.all(owner)
            found = known if known is not None else await self.conversations.read_all(owner)
            if known is None:
                self.known.read(owner, found)
            summary = self.caught_up.get(owner, Summary())
            order = sorted(found, key=lambda peer: found[peer].newest, reverse=True) if len(found) > most else []
            gone = order[most:]
            unread = sum(each.unread for each in found.values()) - sum(found[peer].unread for peer in gone)
            right = structs.replace(summary, unread=unread, conversations=len(found) - len(gone))
            if gone or right != summary:
                writes: list[Write] = [self.conversations.delete(owner, peer) for peer in gone]
                await self.host.storage.commit([*writes, self.summaries.put(owner, "", right)])
                if owner in self.caught_up:
                    self.caught_up[owner] = right
                for peer in gone:
                    self.known.forget(owner, peer)
                found = {peer: each for peer, each in found.items() if peer not in gone}
            return found


def _weight(conversations: Mapping[str, Conversation]) -> int:
    return sum(weight(peer, each) for peer, each in conversations.items())


class Known:
    """What the store has, of owners that were counted or asked last, so that it need not be read again."""

    def __init__(self) -> None:
        self._by_owner: OrderedDict[str, dict[str, Conversation]] = OrderedDict()
        self._whole: set[str] = set()
        """Owners of whom all conversations are known."""
        self._size = 0
        """Bytes."""

    def get(self, owner: str, peer: str) -> Conversation | None:
        """None: the store must be asked."""
        found = self._by_owner.get(owner, {}).get(peer)
        return NEW if found is None and owner in self._whole else found

    def all(self, owner: str) -> dict[str, Conversation] | None:
        """None: the store must be asked."""
        if owner not in self._whole:
            return None
        self._by_owner.move_to_end(owner)
        return dict(self._by_owner[owner])

    def put(self, owner: str, changed: Mapping[str, Conversation]) -> None:
        """What was committed."""
        known = self._by_owner.setdefault(owner, {})
        by = sum(weight(peer, each) for peer, each in changed.items())
        by -= sum(weight(peer, known[peer]) for peer in changed if peer in known)
        known.update(changed)
        self._grown(owner, by)

    def read(self, owner: str, found: Mapping[str, Conversation]) -> None:
        """All that the store has."""
        self.forget(owner)
        self._by_owner[owner] = dict(found)
        self._whole.add(owner)
        self._grown(owner, _weight(found))

    def _grown(self, owner: str, by: int) -> None:
        self._by_owner.move_to_end(owner)
        self._size += by
        while self._size > CACHED_BYTES and len(self._by_owner) > 1:
            self.forget(next(iter(self._by_owner)))

    def forget(self, owner: str, peer: str | None = None) -> None:
        """A conversation is gone; without `peer`, nothing is known of the owner any more."""
        if peer is not None:
            gone = self._by_owner.get(owner, {}).pop(peer, None)
            self._size -= weight(peer, gone) if gone is not None else 0
            return
        self._size -= _weight(self._by_owner.pop(owner, {}))
        self._whole.discard(owner)


def _in_log(step: Step) -> bool:
    """Catching up finds it again."""
    return bool(step.id) and step.what is not What.READ


class _Work:
    """One account's steps, counted."""

    def __init__(self, ledger: Ledger, owner: str, noted: dict[str, list[Step]]) -> None:
        self.ledger = ledger
        self.owner = owner
        self.noted = noted
        self.changed: dict[str, Conversation] = {}
        self.before: dict[str, Conversation] = {}
        self.read: dict[str, int] = {}
        self.position = 0

    # ---- what is stored

    async def get(self, peer: str) -> Conversation:
        found = self.changed.get(peer)
        if found is not None:
            return found
        found = self.ledger.known.get(self.owner, peer)
        if found is None:
            found = await self.ledger.conversations.read(self.owner, peer) or NEW
        self.before[peer] = found
        return found

    async def summary(self, old: Summary) -> Summary:
        before, changed = self.before, self.changed
        unread = sum(each.unread - before[peer].unread for peer, each in changed.items())
        added = sum(not before[peer].newest for peer in changed)
        newest = max((each.newest for each in changed.values()), default=0)
        safe = min(max(newest, self.position), int(self.ledger.host.clock.now() * 1_000_000) - MARGIN)
        return Summary(max(old.position, safe), max(0, old.unread + unread), old.conversations + added)

    def writes(self, summary: Summary) -> list[Write]:
        ledger, owner = self.ledger, self.owner
        writes: list[Write] = [
            ledger.conversations.put(owner, peer, each)
            for peer, each in self.changed.items()
            if each != self.before[peer]
        ]
        return [*writes, ledger.summaries.put(owner, "", summary)]

    def remember(self, summary: Summary) -> None:
        """Committed."""
        ledger, owner = self.ledger, self.owner
        ledger.known.put(owner, self.changed)
        ledger.caught_up[owner] = summary
        ledger.caught_up.move_to_end(owner)
        while len(ledger.caught_up) > CACHED:
            ledger.caught_up.popitem(last=False)

    # ---- counting

    async def take(self, peer: str, step: Step) -> None:
        old = await self.get(peer)
        new, ask = advance(old, step)
        if ask is Ask.FIND:
            id = await self.find(peer, new, step.text)
            if id <= new.read:
                ask = None
            else:
                new, ask = advance(new, Step(What.READ, id))
        if ask is Ask.COUNT:
            new = await self.count(peer, new)
        if not new.newest:
            return  # nothing was said there
        self.changed[peer] = new
        if new.read > old.read and old.unread:
            self.read[peer] = new.read

    async def find(self, peer: str, old: Conversation, text: str) -> int:
        """The entry whose stanza has that id, 0 if it is not among the unread."""
        before: int | None = None
        for _ in range(COUNTED // PAGE):
            page = await self.page(peer, Range(after=old.read, before=before, flags=Flags.INCOMING), backwards=True)
            for entry in reversed(page):
                if _stanza(entry).id == text:
                    return entry.id
            if len(page) < PAGE:
                break
            before = page[0].id
        return 0

    async def count(self, peer: str, old: Conversation) -> Conversation:
        """How many came behind what was read."""
        after, unread = old.read, 0
        last, mark = old.last, old.mark
        while unread < COUNTED:
            page = await self.page(peer, Range(after=after, flags=Flags.INCOMING), backwards=False)
            for entry in page:
                what, text = self.ledger.classify(_stanza(entry), True)
                if what is What.CAME:
                    unread += 1
                    if entry.id >= last:
                        last, mark = entry.id, text
            if len(page) < PAGE:
                break
            after = page[-1].id
        return structs.replace(old, unread=unread, last=last, newest=max(old.newest, last), mark=mark)

    async def page(self, peer: str, range: Range, backwards: bool) -> list[Entry]:
        bare, _, resource = peer.partition("/")
        wanted = replace(range, peer=bare, resource=resource or None, without=Flags.HIDDEN)
        return await self.ledger.log.page(self.owner, wanted, PAGE, backwards)

    async def catch_up(self, until: int) -> Summary:
        """What this process was not told: read the log from the stored position on, up to an id."""
        ledger, owner = self.ledger, self.owner
        summary = await ledger.summaries.read(owner, "") or Summary()
        after = summary.position
        while page := await ledger.log.page(owner, Range(after=after, high=until, without=Flags.HIDDEN), PAGE):
            for entry in page:
                await self.take_entry(entry)
            after = self.position = page[-1].id
        pubsub = ledger.host.find(PUBSUB)
        if pubsub is not None:
            for item in await pubsub.items(JID.parse(owner), MDS_NODE):
                until = displayed_item(owner, item.payload)
                if until:
                    await self.take(item.id, Step(What.READ, until))
        return summary

    async def take_entry(self, entry: Entry) -> None:
        stanza = _stanza(entry)
        came = bool(entry.flags & Flags.INCOMING) and entry.peer != self.owner
        what, text = self.ledger.classify(stanza, came)
        await self.take(place(self.ledger.host, stanza, entry.peer, entry.resource), Step(what, entry.id, text))


ROOM_MARK = "http://jabber.org/protocol/muc#user|x"


def place(host: Host, stanza: Stanza, peer: str, resource: str) -> str:
    """The conversation that a message belongs to: the bare address, in rooms the occupant's (private messages)."""
    if not resource or stanza.type != "chat":
        return peer
    if ROOM_MARK not in stanza.tags:
        home = host.router.hosts.get(peer.partition("@")[2])
        if home is None or home.type != "rooms":
            return peer
    return f"{peer}/{resource}"


def _stanza(entry: Entry) -> Stanza:
    try:
        return look_at(entry.body)
    except ValueError:
        return Stanza(Kind.MESSAGE)
