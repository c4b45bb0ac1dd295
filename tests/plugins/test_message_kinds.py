"""What becomes of each kind of message, for each state of who gets it: as the table says.

The table (plugins/message_rules/kinds.py) is read here, and the server is asked: the archive, other devices, the outbox
of push, the chat list, a client that sleeps.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugins.message_rules.kinds import TABLE, Row
from tests.harness import Client, Harness
from xmppd.contracts.archive import Retention
from xmppd.contracts.messages import Idle, Push
from xmppd.storage.api import Flags, Range

LEFT_OUT = {
    "room subject": "of rooms only",
    "error": "of errors only",
    "room mark": "what a room has marked",
    "mediated": "an invitation is more than its mark",
    "copy": "nobody may send what looks like a copy to another",
    "empty": "it has no payload",
    "unknown": "it has no name",
}
ROWS = [row for row in TABLE if row.kind not in LEFT_OUT]
CSI = "<{} xmlns='urn:xmpp:csi:0'/>"
APP = "app@localhost/server"


def payload(tag: str) -> str:
    ns, _, name = tag.partition("|")
    inside = "text" if name in ("body", "subject") else ""
    extra = " id='some-other-message'" if "chat-markers" in ns or "receipts" in ns or "retract" in ns else ""
    return f"<{name} xmlns='{ns}'{extra}>{inside}</{name}>"


def stanza(row: Row, tag: str, type: str, to: str) -> str:
    return f"<message to='{to}' type='{type}' id='kind-{row.kind.replace(' ', '-')}'>{payload(tag)}</message>"


async def kept(server: Harness, owner: str) -> tuple[int, int]:
    """Entries that are archived, and that only wait for a device."""
    log = server.storage.log("archive")
    every = await log.count(owner, Range())
    hidden = await log.count(owner, Range(flags=int(Flags.HIDDEN)))
    return every - hidden, hidden


async def messages(client: Client) -> int:
    return sum(each.tag == "{jabber:client}message" for each in await client.receive_all())


@pytest.mark.parametrize("type", ["chat", "normal"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.kind.replace(" ", "-"))
async def test_one_kind(server: Harness, row: Row, type: str) -> None:
    """Away, then with several devices, then asleep."""
    tag = row.tags[0]
    romeo = await server.login("romeo")
    app = await server.login("app", "server")
    juliet = await server.login("juliet", "phone", presence=True)
    answer = await juliet.iq(f"<enable xmlns='urn:xmpp:push:0' jid='{APP}' node='n'/>", "set")
    assert answer.get("type") == "result"
    juliet.close()
    await server.quiet()

    # away: archived, waiting, or gone; pushed or not; unread or not
    romeo.send(stanza(row, tag, type, "juliet@localhost"))
    await server.quiet()
    await server.advance(2)
    archived, waiting = await kept(server, "juliet@localhost")
    assert (archived, waiting) == {
        Retention.ARCHIVE: (1, 0), Retention.OFFLINE: (0, 1), Retention.NONE: (0, 0),
    }[row.retention]  # fmt: skip
    assert (await kept(server, "romeo@localhost"))[0] == (1 if row.retention is Retention.ARCHIVE else 0)
    pushes = [each for each in await app.receive_all() if each.find(".//{urn:xmpp:push:0}notification") is not None]
    assert bool(pushes) == (row.push is not Push.NEVER and row.retention is not Retention.NONE)
    unread = await server.host.plugins["inbox"].unread("juliet@localhost")
    assert unread == (1 if row.unread and row.retention is Retention.ARCHIVE else 0)

    # two devices: one is addressed, the other gets a copy or not
    phone = await server.login("juliet", "phone", presence=True)
    desk = await server.login("juliet", "desk", presence=True)
    desk.send("<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
    await desk.receive_all()
    await phone.receive_all()
    romeo.send(stanza(row, tag, type, phone.jid))
    await server.quiet()
    assert await messages(phone) == 1
    assert await messages(desk) == (1 if type == "chat" or row.copied else 0)

    # asleep: at once, or when it wakes
    desk.close()
    phone.send(CSI.format("inactive"))
    await phone.receive_all()
    romeo.send(stanza(row, tag, type, phone.jid))
    await server.quiet()
    kept_for_later = row.idle is not Idle.NOW and row.retention is Retention.NONE
    assert await messages(phone) == (0 if kept_for_later else 1)
    phone.send(CSI.format("active"))
    await server.quiet()
    assert await messages(phone) == (1 if kept_for_later else 0)


KINDS = st.lists(st.sampled_from(ROWS), min_size=1, max_size=3, unique_by=lambda row: row.kind)
HINTS = st.sampled_from(["", "no-store", "no-permanent-store", "store", "no-copy"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=KINDS, type=st.sampled_from(["chat", "normal"]), hint=HINTS)
async def test_several_kinds_in_one_message_and_a_hint(rows: list[Row], type: str, hint: str) -> None:
    """The longest of them, and what XEP-0334 says of it."""
    server = await Harness().start()
    try:
        await server.register("juliet")
        romeo = await server.login("romeo", "phone", presence=True)
        other = await server.login("romeo", "desk", presence=True)
        await romeo.receive_all()
        other.send("<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
        await other.receive_all()
        inside = "".join(payload(row.tags[0]) for row in rows)
        inside += f"<{hint} xmlns='urn:xmpp:hints'/>" if hint else ""
        romeo.send(f"<message to='juliet@localhost' type='{type}' id='several'>{inside}</message>")
        await server.quiet()
        retention = max(row.retention for row in rows)
        if hint == "no-store":
            retention = Retention.NONE
        elif hint == "store":
            retention = Retention.ARCHIVE
        elif hint == "no-permanent-store":
            retention = min(retention, Retention.OFFLINE)
        found = await kept(server, "juliet@localhost")
        assert found == {Retention.ARCHIVE: (1, 0), Retention.OFFLINE: (0, 1), Retention.NONE: (0, 0)}[retention]
        copied = (type == "chat" or any(row.copied for row in rows)) and hint != "no-copy"
        assert await messages(other) == (1 if copied else 0)
    finally:
        await server.stop()
