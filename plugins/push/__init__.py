"""XEP-0357: Push Notifications. Wakes devices that are not connected, by way of their app servers."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable
from dataclasses import replace
from functools import partial
from typing import Final

from xmppd.cache import Cache
from xmppd.contracts.archive import STORED_TYPES
from xmppd.contracts.disco import DISCO_FORMS, DiscoAsk
from xmppd.contracts.inbox import INBOX
from xmppd.contracts.messages import Push
from xmppd.contracts.owners import OWNERS_ARRIVED
from xmppd.contracts.pubsub import NODE_CHANGED, NodeChanged
from xmppd.contracts.rooms import ROOM_SAID, ROOM_SAYS, RoomSaid
from xmppd.contracts.routing import ARRIVED, INBOUND, MESSAGE_RULES
from xmppd.contracts.sessions import DIRECTED, RESTORED, SESSION_BOUND, SESSION_RESUMED, STREAM_LOST
from xmppd.contracts.store_check import CHECK_STORE, StoreCheck, in_map
from xmppd.errors import (
    BadRequest,
    JidMalformed,
    MalformedJid,
    NotAcceptable,
    RemoteServerNotFound,
    ResourceConstraint,
    StorageUnavailable,
)
from xmppd.plugin import (
    JID,
    Account,
    Element,
    Inbound,
    Kind,
    Plugin,
    Request,
    Session,
    Stage,
    Stanza,
    To,
    Xep,
    iq,
    on,
)
from xmppd.stanza import parse_stanza
from xmppd.storage.api import Write
from xmppd.xep.forms import Field, form, read_form
from xmppd.xml import children, find, text_of, to_bytes

from .chats import ChatSettings
from .model import NS, OPTIONS, PERMANENT, WEB_FORM, Device, Job, merged, notification
from .options import Config
from .outbox import Outbox
from .rooms import RoomNotifications
from .unacknowledged import UnacknowledgedMessages
from .web import WebPush

DEVICES: Final = "push-device"
DRAFTS: Final = 10_000
DRAFT_BYTES: Final = 8 << 20
"""In memory; a draft that is dropped is not withdrawn, and may wake a device in vain after a crash."""


class PushNotifications(Plugin[Config]):
    xeps = (
        Xep(357, "0.4.1", "app servers of this server, and web push (RFC 8030) without one"),
        Xep(492, "0.2.0", "as kept in bookmarks, for what wakes a phone"),
    )
    account_features = (NS,)
    uses = (MESSAGE_RULES,)

    def setup(self) -> None:
        self.devices = self.host.storage.map(DEVICES, Device, cached=True)
        self.outbox = Outbox(self.host, self.send)
        self.web = WebPush(self.host, self.config)
        self.chats = ChatSettings(self.host)
        self.rooms = RoomNotifications(self)
        self.unacknowledged = UnacknowledgedMessages(self)
        self.drafts: Cache[tuple[str, int], list[str]] = self.host.owned(Cache(DRAFTS, DRAFT_BYTES), pairs=True)
        """By owner and log entry: the devices for which a job was stored with a message that is not released yet."""
        self.owners: set[str] = self.host.owned(set())
        """Accounts that have devices."""

    async def start(self) -> None:
        await self.web.start()
        self.rules = self.host.service(MESSAGE_RULES)
        await self._find_owners(None)

    @on(OWNERS_ARRIVED)
    async def owners_arrived(self, owners: Container[str]) -> None:
        await self._find_owners(owners)

    async def _find_owners(self, among: Container[str] | None) -> None:
        """Finds, of all or among some, the owners of devices, and what is to be sent to these."""
        after = ""
        while owners := await self.devices.owners(self.host.domain, after):
            self.owners.update(each for each in owners if among is None or each in among)
            after = owners[-1]
        await self.outbox.read(among)

    # ---- the account's devices (sections 5 and 6)

    @iq("set", NS, "enable", To.SELF)
    async def enable(self, request: Request) -> None:
        payload, owner = request.payload, request.account.bare
        address, submitted = _address(request), read_form(payload, "submit")
        if submitted is not None and submitted.form_type not in ("", OPTIONS):
            raise BadRequest("not a form of publish options")
        if not self.host.router.routes.reaches(address):
            raise RemoteServerNotFound(f"this server does not talk to {address.domain}")
        if address.full == self.host.domain:
            self.web.check(submitted)
        text = _options(payload) if submitted is not None and submitted.type == "submit" else ""
        resource = request.session.resource if request.session is not None else ""
        device = Device(address.full, str(payload.get("node", "")), text, resource)
        if len(text) > 4096 or len(device.node) > 1024:
            raise NotAcceptable("too long")
        async with self.host.locks.hold(owner):
            known = self.devices.get(owner)
            if device.key not in known and len(known) >= self.config.devices:
                raise ResourceConstraint("too many devices")
            await self.host.storage.commit([self.devices.put(owner, device.key, device)])
            self.owners.add(owner)

    @iq("set", NS, "disable", To.SELF)
    async def disable(self, request: Request) -> None:
        """Without a node: all of that app server."""
        jid, node, owner = _address(request).full, request.payload.get("node"), request.account.bare
        async with self.host.locks.hold(owner):
            removed = [
                key
                for key, each in self.devices.get(owner).items()
                if each.jid == jid and (node is None or each.node == node)
            ]
            await self._remove(owner, removed)

    async def _remove(self, owner: str, keys: list[str]) -> None:
        writes: list[Write] = [self.devices.delete(owner, key) for key in keys]
        for key in keys:
            writes.append(self.outbox.cancel(owner, key))
        if writes:
            await self.host.storage.commit(writes)
        if not self.devices.get(owner):
            self.owners.discard(owner)

    @on(DISCO_FORMS)
    def server_key(self, ask: DiscoAsk) -> Iterable[Element]:
        """What a browser needs to subscribe: the public key of this server (RFC 8292)."""
        if not ask.node and ask.account is None and self.web.pem:
            yield form("result", WEB_FORM, (Field("applicationServerKey", values=(self.web.public,)),))

    # ---- messages that wake them

    @on(INBOUND, Stage.ARCHIVE, kinds=(Kind.MESSAGE,), types=STORED_TYPES, if_stored_in=DEVICES)
    def incoming(self, event: Inbound) -> None:
        """Drafts the notifications in the batch of the message, should the process end before the release, where it
        is decided who is woken."""
        owner, stanza = event.owner, event.stanza
        if not event.log_id or not self.devices.get(owner.bare) or _is_own(event):
            return
        level = self.rules.policy(stanza).push
        if level is Push.NEVER or (self.chats.ready(owner.bare) and not self.chats.wakes(owner, stanza)):
            return
        away = self._away(owner)
        if away:
            job = self._job(owner, stanza, level)
            for device in away:
                event.write(self.outbox.draft(owner.bare, device.key, job))
            self.drafts.put((owner.bare, event.log_id), [device.key for device in away])

    @on(ARRIVED, kinds=(Kind.MESSAGE,), types=("chat", "normal", "groupchat"), if_stored_in=DEVICES)
    def arrived(self, event: Inbound) -> None:
        """For messages in the log, and those of a room to a session that waits for its client."""
        owner, stanza = event.owner, event.stanza
        group = stanza.type == "groupchat"
        if not self.devices.get(owner.bare) or not (event.log_id or group) or _is_own(event):
            return
        level = self.rules.policy(stanza).push
        if level is Push.NEVER:
            return
        drafts = self.drafts.pop((owner.bare, event.log_id)) or ()
        if self.chats.ready(owner.bare):
            self._wake(owner, stanza, level, drafts)
        else:
            self.spawn(self._wake_later(owner, stanza, level, drafts), "settings")

    async def _wake_later(self, owner: Account, stanza: Stanza, level: Push, drafts: Collection[str]) -> None:
        try:
            await self.chats.load(owner.bare)
            account = await self.host.open_account(owner.jid)  # its devices may have left memory meanwhile
        except StorageUnavailable:
            self.outbox.log.warning("nobody wakes the devices of %s: the store is away", owner.bare)
            return
        if account is not None:
            self._wake(account, stanza, level, drafts)

    def _wake(self, owner: Account, stanza: Stanza, level: Push, drafts: Collection[str]) -> None:
        """`drafts`: keys of the devices for which a job was stored with the message."""
        away = self._away(owner, stanza if stanza.type == "groupchat" else None)
        if away and not self.chats.wakes(owner, stanza):
            away = []
        if away:
            job = self._job(owner, stanza, level)
            for device in away:
                self.outbox.add(owner.bare, device.key, job)
        if drafts:
            self.outbox.withdraw(owner.bare, drafts)

    def _away(self, owner: Account, in_room: Stanza | None = None) -> list[Device]:
        return [each for each in self.devices.get(owner.bare).values() if self._is_away(owner, each, in_room)]

    def _job(self, owner: Account, stanza: Stanza, level: Push) -> Job:
        """Who uses another device may read it there; so that the phone is silent then, it waits, but for a call."""
        in_use = any(each.stream is not None and each.channel.gate is None for each in owner.sessions.values())
        wait = self.config.delay if in_use and level is not Push.URGENT else 0.0
        return Job(int(level), self.host.clock.now() + wait, 0, *self._contents(stanza), stanza.type == "groupchat")

    @on(ROOM_SAYS)
    def room_message_decided(self, event: RoomSaid) -> Iterable[Write]:
        return self.rooms.before_commit(event)

    @on(ROOM_SAID)
    def room_message_released(self, event: RoomSaid) -> None:
        self.rooms.after_commit(event)

    @on(RESTORED)
    def all_started(self, host: JID) -> None:
        self.spawn(self.rooms.recover(), "rooms")

    @on(SESSION_BOUND)
    @on(SESSION_RESUMED)
    def connected(self, session: Session) -> None:
        if session.account.bare in self.owners:
            self.unacknowledged.mark_notified(session)

    @on(STREAM_LOST)
    def stream_lost(self, session: Session) -> None:
        owner = session.account.bare
        if owner in self.owners:
            devices = [each for each in self.devices.get(owner).values() if each.resource == session.resource]
            if devices:
                self.unacknowledged.connection_lost(session, devices)

    def wake_these(self, owner: Account, stanza: Stanza, level: Push, devices: Iterable[Device]) -> None:
        """Wakes those of the devices that are still not connected."""
        job = self._job(owner, stanza, level)
        for device in devices:
            if self._is_away(owner, device, None):
                self.outbox.add(owner.bare, device.key, job)

    def wake_for_room(self, owner: Account, stanza: Stanza) -> None:
        """Wakes an account that is not in the room of a message."""
        level = self.rules.policy(stanza).push
        job = Job(int(level), self.host.clock.now(), 0, *self._contents(stanza), True)
        for device in self.devices.get(owner.bare).values():
            if self._is_away(owner, device, None):
                self.outbox.add(owner.bare, device.key, job)

    def _is_away(self, owner: Account, device: Device, in_room: Stanza | None) -> bool:
        """`in_room`: a message of a room, which wakes a device whose session is in it."""
        session = owner.sessions.get(device.resource)
        if in_room is None:
            return session is None or session.stream is None
        if session is None or session.stream is not None or in_room.sender is None:
            return False
        return any(address.partition("/")[0] == in_room.sender.bare for address in session[DIRECTED])

    @on(NODE_CHANGED)
    def settings_changed(self, event: NodeChanged) -> None:
        self.chats.changed(event)

    def _contents(self, stanza: Stanza) -> tuple[str, str]:
        """Sender and body, as far as the app server may know them."""
        sender = stanza.sender.full if stanza.sender is not None and self.config.sender else ""
        body = stanza.child("jabber:client", "body") if self.config.body else None
        return sender, text_of(body)[:500]

    @on(CHECK_STORE)
    async def check(self, store: StoreCheck) -> None:
        """For `xmppd store check`. A job without a device ends when it is due."""
        async for owner, key, device in store.records(self.devices):
            if key != device.key:
                store.problem(owner, in_map(self.devices.name, key), f"it is the device {device.key!r}")
        await self.rooms.check(store)

    # ---- sending

    async def send(self, owner: str, key: str, job: Job) -> None:
        """Sends a job that is due. Raises StorageUnavailable."""
        account = await self.host.open_account(JID.parse(owner))
        device = self.devices.get(owner).get(key) if account is not None else None
        if device is None:
            await self.outbox.done(owner, key)
            return
        inbox = self.host.find(INBOX)
        count = await inbox.unread(owner) if inbox is not None else 1
        count = max(count, 1) if job.group else count
        if inbox is not None and not count and job.level == Push.ALERT and not job.group:
            await self.outbox.done(owner, key)  # read on another device meanwhile
            return
        if self.web.is_web(device):
            await self._after(owner, device, job, await self.web.send(device, job, count))
            return
        payload = notification(device, job, count, self.config.sender, self.config.body)
        self.host.ask(JID.parse(device.jid), payload, partial(self._answered, owner, device, job), "set")

    def _answered(self, owner: str, device: Device, job: Job, answer: Stanza | None) -> None:
        self.spawn(self._finish(owner, device, job, answer), "answer")

    async def _finish(self, owner: str, device: Device, job: Job, answer: Stanza | None) -> None:
        if answer is not None and not answer.is_error:
            await self._after(owner, device, job, "done")
        else:
            await self._after(owner, device, job, _condition(answer))

    async def _after(self, owner: str, device: Device, job: Job, condition: str) -> None:
        """`condition`: "done", or what went wrong."""
        try:
            if condition == "done":
                await self.outbox.done(owner, device.key, job)
                if device.failures:
                    await self._set_failures(owner, device, 0)
                return
            if condition in PERMANENT:
                self.outbox.log.warning("%s wakes %s no more: its app server says %s", device.jid, owner, condition)
                async with self.host.locks.hold(owner):
                    await self._remove(owner, [device.key])
            elif job.attempts + 1 < self.config.attempts:
                await self.outbox.retry(owner, device.key, job)
            else:
                self.outbox.log.warning("%s could not be told about a message for %s: %s", device.jid, owner, condition)
                await self.outbox.done(owner, device.key, job)
                await self._set_failures(owner, device, device.failures + 1)
        except StorageUnavailable:
            self.outbox.postpone(owner, device.key, job)

    async def _set_failures(self, owner: str, device: Device, failures: int) -> None:
        async with self.host.locks.hold(owner):
            known = self.devices.get(owner).get(device.key)
            if known is None:
                return
            if failures >= self.config.failures:
                self.outbox.log.warning("%s is forgotten for %s: it fails again and again", device.jid, owner)
                await self._remove(owner, [device.key])
            else:
                changed = replace(known, failures=failures)
                await self.host.storage.commit([self.devices.put(owner, device.key, changed)])


def _is_own(event: Inbound) -> bool:
    """Whether another device of the account has sent it: that wakes nobody."""
    sender = event.stanza.sender
    return sender is not None and sender.bare == event.owner.bare


def _options(payload: Element) -> str:
    """The form that goes back to the app server with each notification, as text: a submitted one of publish options
    (XEP-0060 section 7.1.5), also where the client has left that out."""
    given = find(payload, "jabber:x:data", "x")
    assert given is not None
    given.set("type", "submit")
    if all(each.get("var") != "FORM_TYPE" for each in children(given, "jabber:x:data", "field")):
        given.insert(0, Field("FORM_TYPE", "hidden", values=(OPTIONS,)).element())
    return to_bytes(given).decode()


def _address(request: Request) -> JID:
    """Raises BadRequest, JidMalformed."""
    text = request.payload.get("jid")
    if not text:
        raise BadRequest("which app server?")
    try:
        return JID.parse(str(text))
    except MalformedJid:
        raise JidMalformed() from None


def _condition(answer: Stanza | None) -> str:
    if answer is None:
        return "nothing"
    for each in parse_stanza(answer.data).xml.iter("{urn:ietf:params:xml:ns:xmpp-stanzas}*"):
        return str(each.tag).rpartition("}")[2]
    return "an error"


__all__ = ["PushNotifications", "merged"]
