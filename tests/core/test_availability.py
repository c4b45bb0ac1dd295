"""When a session is there for messages: the core's part of presence, and a device that goes and comes again."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from tests.core.test_delivery import Reader, bodies, enable, say
from tests.core.test_snapshots import again, resume
from tests.harness import Client, Harness, condition
from tests.plugins.contract import folder
from xmppd.errors import BadRequest
from xmppd.plugin import SessionKey
from xmppd.sessions.availability import priority_of
from xmppd.stanza import parse_stanza

__all__ = ["folder"]

JULIET = "juliet@localhost"
AWAY = ("<presence type='unavailable'/>", "<presence><priority>-1</priority></presence>")

SILENT = """
from xmppd.contracts.sessions import PRESENCE
from xmppd.plugin import NoConfig, Plugin

class Silent(Plugin[NoConfig]):
    provides = (PRESENCE,)

    def broadcast(self, session, stanza, before):
        {broadcast}

    def directed(self, session, stanza):
        pass

    async def subscription(self, session, stanza):
        pass

    async def arriving_subscription(self, account, stanza):
        pass

    def probe(self, stanza):
        return None

    def became_unavailable(self, session, before):
        {broadcast}

    async def remove(self, account, contact):
        pass

    def withdraw(self, account, contact, policy=False):
        pass

    def announce(self, account, contact):
        pass
"""


@pytest.mark.parametrize("broadcast", ["pass", "raise RuntimeError('broken')"])
async def test_another_presence_plugin_needs_to_know_nothing_of_delivery(folder: Path, broadcast: str) -> None:
    (folder / "silent.py").write_text(SILENT.format(broadcast=broadcast), "utf-8")
    server = Harness(plugins={"presence": False, "silent": {}}, more=f"plugin_path: ['{folder}']")  # type: ignore[dict-item]
    await server.start()
    try:
        await server.register("juliet")
        romeo = await server.login("romeo")
        say(romeo, JULIET, "while nobody was there")
        await romeo.silence()
        juliet = await server.login("juliet", "phone")
        await juliet.silence()
        juliet.send("<presence><priority>200</priority></presence>")
        assert condition(await juliet.receive()) == "bad-request"
        juliet.send("<presence><priority>-1</priority></presence>")
        await juliet.silence()
        juliet.send("<presence/>")
        assert bodies(await juliet.receive_all()) == ["while nobody was there"]
        say(romeo, JULIET, "now")
        assert bodies(await juliet.receive_all()) == ["now"]
        juliet.send("<presence type='unavailable'/>")
        say(romeo, JULIET, "away")
        await juliet.silence()
        juliet.send("<presence/>")
        assert bodies(await juliet.receive_all()) == ["away"]
        juliet.close()
        await server.quiet()
        assert not server.host.accounts[JULIET].sessions
    finally:
        await server.stop()


async def test_without_any_presence_plugin(folder: Path) -> None:
    names = (
        "presence",
        "entity_caps",
        "blocking",
        "privacy",
        "roster",
        "last_activity",
        "avatars",
        "pubsub",
        "bookmarks",
    )
    off = dict.fromkeys((*names, "vcard4", "register", "administration", "inbox", "push"), False)
    server = Harness(plugins=off)  # type: ignore[arg-type]
    await server.start()
    try:
        await server.register("juliet")
        romeo = await server.login("romeo")
        say(romeo, JULIET, "owed")
        await romeo.silence()
        juliet = await server.login("juliet")
        juliet.send("<presence/>")
        assert bodies(await juliet.receive_all()) == ["owed"]
    finally:
        await server.stop()


class Device:
    """A client, with or without XEP-0198, and all that it got."""

    def __init__(self, client: Client, counts: bool) -> None:
        self.client = client
        self.reader = Reader(client) if counts else None
        self.got: list[str] = []

    @classmethod
    async def come(cls, server: Harness, name: str, counts: bool, reads: bool) -> Device:
        client = await server.login("juliet", name)
        if counts:
            await enable(client)
        device = cls(client, counts)
        if reads:
            await client.iq("<query xmlns='urn:xmpp:mam:2'/>", "set")
            if device.reader is not None:
                device.reader.h += 1
        client.send("<presence/>")
        await device.read()
        return device

    async def read(self, ack: bool = True) -> None:
        self.got += await self.reader.read(ack) if self.reader is not None else bodies(await self.client.receive_all())


NO_YES = (False, True)
WAYS = product(NO_YES, NO_YES, AWAY, ("", "acks", "lost", "lost later"), "-12", (True, False), NO_YES, NO_YES)


def possible(
    reads: bool, counts: bool, away: str, other: str, direct: str, acked: bool, behind: bool, restart: bool
) -> bool:
    """Only who has XEP-0198 has a session that can be full, or outlive a restart, which ends the other one's."""
    if not counts and (behind or restart or not acked):
        return False
    if away is not AWAY[0] and (behind or restart or not acked):
        return False  # enough of these
    return (direct != "-" or acked) and not (restart and other == "lost later")


VARIANTS = [way for way in WAYS if possible(*way)]


@pytest.mark.parametrize(("reads", "counts", "away", "other", "direct", "acked", "behind", "restart"), VARIANTS)
async def test_a_device_that_goes_and_comes_again_on_its_stream(
    server: Harness,
    reads: bool,
    counts: bool,
    away: str,
    other: str,
    direct: str,
    acked: bool,
    behind: bool,
    restart: bool,
) -> None:
    """What is owed comes, also if something came for its full JID meanwhile (`direct`: as which of three); one that has
    read its archive on this stream, or was behind when it went, is sent what another device got meanwhile, too. All of
    it once. `behind`: its queue was full as it went. `restart`: the server stops and starts while it is away."""
    romeo = await server.login("romeo")
    phone = await Device.come(server, "phone", counts, reads)
    desk = await Device.come(server, "desk", True, False) if other else None

    async def said(text: str, to: str = JULIET) -> None:
        say(romeo, to, text)
        await phone.read(ack=acked)
        if desk is not None:
            await desk.read(ack=other == "acks" or text == "before")

    await said("before")
    limits = server.server.limits
    room = limits.queue
    if behind:
        await phone.read()
        object.__setattr__(limits, "queue", 1)
        assert phone.reader is not None
        say(romeo, JULIET, "fills")
        await phone.read(ack=False)
        say(romeo, JULIET, "behind")
        await phone.read(ack=False)
        object.__setattr__(limits, "queue", room)
        if desk is not None:
            await desk.read(ack=other == "acks")
    phone.client.send(away)
    await phone.read(ack=False)
    for number in ("0", "1", "2"):
        await said(number, f"{JULIET}/phone" if number == direct else JULIET)
    if other == "lost" and desk is not None:
        desk.client.send("</stream:stream>")
        await server.quiet()
    assert phone.got == ["before", *(["fills"] if behind else []), *([direct] if direct != "-" else [])]
    first = server
    if restart:
        assert phone.reader is not None
        enabled = server.host.accounts[JULIET].sessions["phone"][SessionKey.known["stream-management"]]
        server = await again(server)
        phone.client, answer = await resume(server, "juliet", enabled.id, phone.reader.h)
        assert answer.tag.endswith("}resumed")
        phone.reader.client = phone.client
        romeo = await server.login("romeo")
    try:
        phone.client.send("<presence/>")
        await phone.read()
        all_of_it = reads or behind or other in ("", "lost")
        expected = {"before"} | ({"fills", "behind"} if behind else set())
        expected |= {"0", "1", "2"} if all_of_it else {direct} - {"-"}
        assert sorted(phone.got) == sorted(expected)
        say(romeo, JULIET, "after")
        await phone.read()
        if other == "lost later" and desk is not None:
            desk.client.send("</stream:stream>")
            await phone.read()
            expected |= {"0", "1", "2"}
        expected.add("after")
        assert sorted(phone.got) == sorted(expected), "all of it once"
        phone.client.send(away)
        phone.client.send("<presence/>")
        await phone.read()
        assert len(phone.got) == len(expected), "and not again"
    finally:
        if server is not first:
            await server.stop()


@pytest.mark.parametrize(
    ("children", "priority"),
    [
        ("", 0),
        ("<priority>5</priority>", 5),
        ("<priority> -128\n</priority>", -128),
        ("<priority>+127</priority>", 127),
        ("<priority xmlns='urn:x'>9</priority>", 0),
        ("<priority>128</priority>", None),
        ("<priority>-129</priority>", None),
        ("<priority></priority>", None),
        ("<priority>1.5</priority>", None),
        ("<priority>٣</priority>", None),
        ("<priority>12345678901</priority>", None),
        ("<priority>1<x/></priority>", None),
        ("<priority>1</priority><priority>1</priority>", None),
    ],
)
def test_a_priority_is_one_integer(children: str, priority: int | None) -> None:
    """RFC 6121 section 4.7.2.3."""
    stanza = parse_stanza(f"<presence>{children}</presence>".encode())
    if priority is not None:
        assert priority_of(stanza) == priority
    else:
        with pytest.raises(BadRequest):
            priority_of(stanza)
