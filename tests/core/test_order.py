"""What the server itself sends: in the order of calls, decided once (RFC 6120 section 10.1)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import Client, Element, Harness
from tests.plugins.contract import folder
from xmppd.jid import JID
from xmppd.routing import order
from xmppd.stanza import message, presence
from xmppd.xml import E

__all__ = ["folder"]

CLIENT = "jabber:client"
ROMEO = JID.parse("romeo@localhost")
ROOM = "garden@conference.localhost"

COUNTER = """
from dataclasses import dataclass
from xmppd.contracts.routing import INBOUND, Inbound
from xmppd.errors import NotAllowed
from xmppd.plugin import Kind, NoConfig, Plugin, Stage, Verdict, on

@dataclass(frozen=True, slots=True)
class Seen:
    to: str

class Counter(Plugin[NoConfig]):
    def setup(self) -> None:
        self.seen = self.host.storage.map("seen", Seen)
        self.times = []
        self.number = 0

    @on(INBOUND, Stage.GUARD)
    def count(self, event: Inbound) -> Verdict | None:
        sender = event.stanza.sender
        if sender is None or "conference" not in sender.domain and event.stanza.type != "headline":
            return None
        to = event.stanza.to
        self.times.append((event.stanza.kind.name, to.full if to is not None else ""))
        self.number += 1
        event.write(self.seen.put(event.owner.bare, str(self.number), Seen(to.full if to is not None else "")))
        if event.stanza.id == "refused" and not event.stanza.answers:
            raise NotAllowed()
        return Verdict.DROP if event.stanza.id == "dropped" else None
"""


def texts(found: list[Element]) -> list[str]:
    return [each.findtext(f"{{{CLIENT}}}body") or each.get("type", "available") for each in found]


async def test_what_is_not_stored_follows_what_is(server: Harness) -> None:
    romeo = await server.login("romeo", "balcony", presence=True)
    other = await server.login("romeo", "orchard", presence=True)
    await romeo.receive_all()
    host, router = server.host, server.server.router
    body = E("body", CLIENT, {}, "stored")
    server.backend.hold()
    host.deliver(message("chat", body, to=ROMEO, sender=host.jid))
    host.deliver(message("headline", E("body", CLIENT, {}, "news"), to=ROMEO, sender=host.jid))
    full = JID.parse(romeo.jid)
    host.deliver(presence("unavailable", to=full, sender=host.jid))
    sessions = list(host.accounts["romeo@localhost"].sessions.values())
    router.fan_to(message("headline", E("body", CLIENT, {}, "to both"), sender=host.jid), sessions)
    await romeo.silence()
    juliet = JID.parse("juliet@localhost")
    router.fan_to(message("headline", E("body", CLIENT, {}, "another's"), sender=juliet), sessions)
    assert texts(await romeo.receive_all()) == ["another's"], "each sender has an order of its own"
    server.backend.release()
    assert texts(await romeo.receive_all()) == ["stored", "news", "unavailable", "to both"]
    assert texts(await other.receive_all()) == ["another's", "stored", "news", "to both"]
    assert not router.own_orders.pending and not router.own_orders.size, "an order that nothing waits for is forgotten"


async def test_an_account_that_must_be_read_first(server: Harness) -> None:
    await server.register("romeo")
    host = server.host
    for number in range(3):
        host.deliver(message("chat", E("body", CLIENT, {}, f"{number}"), to=ROMEO, sender=host.jid))
    await server.quiet()
    romeo = await server.login("romeo")
    romeo.send("<presence/>")
    assert texts([each for each in await romeo.receive_all() if each.tag.endswith("message")]) == ["0", "1", "2"]


async def test_an_order_has_bounds(server: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes beyond is refused to whom it comes from, and so is nothing of others."""
    monkeypatch.setattr(order, "WAITING", 3)
    romeo = await server.login("romeo", presence=True)
    host, router = server.host, server.server.router
    sender = JID.parse("romeo@localhost/x")
    server.backend.hold()
    for number in range(5):
        host.deliver(message("chat", E("body", CLIENT, {}, f"{number}"), to=ROMEO, sender=host.jid))
    host.deliver(message("chat", E("body", CLIENT, {}, "another's"), to=ROMEO, sender=sender))
    server.backend.release()
    assert texts(await romeo.receive_all()) == ["0", "1", "2", "another's"]
    monkeypatch.setattr(order, "BYTES", 100)
    server.backend.hold()
    host.deliver(message("chat", E("body", CLIENT, {}, "l" * 200), to=ROMEO, sender=host.jid))
    host.deliver(message("chat", E("body", CLIENT, {}, "one too many"), to=ROMEO, sender=host.jid))
    server.backend.release()
    assert texts(await romeo.receive_all()) == ["l" * 200], "one alone may be long"
    assert not router.own_orders.size


async def joined(server: Harness, *names: str) -> list[Client]:
    found = []
    for name in names:
        client = await server.login(name, "x", presence=True)
        client.send(f"<presence to='{ROOM}/{name}'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
        await client.receive_all()
        if not found:
            form = "<x xmlns='jabber:x:data' type='submit'/>"
            await client.iq(f"<query xmlns='http://jabber.org/protocol/muc#owner'>{form}</query>", "set", ROOM)
        found.append(client)
    for client in found:
        await client.receive_all()
    return found


async def test_the_chain_of_a_recipient_runs_once(folder: Path) -> None:
    """In a fan-out, whatever a handler writes; it knows the address, and what it writes is on disk before anyone sees
    the message."""
    (folder / "counter.py").write_text(COUNTER, "utf-8")
    server = await Harness(plugins={"counter": {}}, more=f"plugin_path: ['{folder}']").start()
    try:
        romeo, juliet = await joined(server, "romeo", "juliet")
        plugin = server.host.plugins["counter"]
        plugin.times.clear()
        server.backend.hold()
        romeo.send(f"<message to='{ROOM}' type='groupchat'><body>hello</body></message>")
        await server.quiet()
        server.backend.release()
        assert texts(await romeo.receive_all()) == texts(await juliet.receive_all()) == ["hello"]
        assert sorted(plugin.times) == [("MESSAGE", juliet.jid), ("MESSAGE", romeo.jid)]
        found = await plugin.seen.read_all("juliet@localhost")
        assert juliet.jid in {each.to for each in found.values()}
    finally:
        await server.stop()


@pytest.mark.parametrize("id", ["refused", "dropped"])
async def test_what_is_not_let_in(folder: Path, id: str) -> None:
    """A private message: what is refused leaves nothing behind, and its author is told once; what a handler drops has
    done what it did."""
    (folder / "counter.py").write_text(COUNTER, "utf-8")
    server = await Harness(plugins={"counter": {}}, more=f"plugin_path: ['{folder}']").start()
    try:
        romeo, juliet = await joined(server, "romeo", "juliet")
        plugin = server.host.plugins["counter"]
        before = len(await plugin.seen.read_all("juliet@localhost"))
        plugin.times.clear()
        romeo.send(f"<message to='{ROOM}/juliet' type='chat' id='{id}'><body>psst</body></message>")
        answers = [each.get("type") for each in await romeo.receive_all()]
        await juliet.silence()
        if id == "refused":
            assert answers == ["error"]
            assert plugin.times == [("MESSAGE", juliet.jid), ("MESSAGE", romeo.jid)], "the message, and the error"
        else:
            assert answers == []
            assert plugin.times == [("MESSAGE", juliet.jid)]
        after = len(await plugin.seen.read_all("juliet@localhost"))
        assert after - before == (0 if id == "refused" else 1)
        plugin.times.clear()
        sessions = list(server.host.accounts["juliet@localhost"].sessions.values())
        fanned = message("headline", sender=JID.parse(ROOM)).stamped(id=id)
        server.server.router.fan_to(fanned, sessions)
        await juliet.silence()
        assert plugin.times == [("MESSAGE", juliet.jid)]
        assert len(await plugin.seen.read_all("juliet@localhost")) - after == (0 if id == "refused" else 1)
    finally:
        await server.stop()
