"""What is stored: every kind of message, with every hint, preference and presence, through a whole server."""

from __future__ import annotations

from itertools import product

import pytest

from plugins.message_rules.policy import MessagePolicies
from tests.harness import Client, Element, Harness, condition
from xmppd.contracts.archive import LOG, Retention
from xmppd.stanza import parse_stanza
from xmppd.storage.api import Entry, Flags, Range

POLICIES = MessagePolicies()
NONE, OFFLINE, ARCHIVE = Retention.NONE, Retention.OFFLINE, Retention.ARCHIVE
STATES = "http://jabber.org/protocol/chatstates"

KINDS = {
    "empty": ("", NONE),
    "body": ("<body>hi</body>", ARCHIVE),
    "body and state": (f"<body>hi</body><active xmlns='{STATES}'/>", ARCHIVE),
    "subject": ("<subject>hi</subject>", ARCHIVE),
    "omemo": ("<encrypted xmlns='eu.siacs.conversations.axolotl'/>", ARCHIVE),
    "omemo 2": ("<encrypted xmlns='urn:xmpp:omemo:2'/>", ARCHIVE),
    "openpgp": ("<openpgp xmlns='urn:xmpp:openpgp:0'>x</openpgp>", ARCHIVE),
    "receipt": ("<received xmlns='urn:xmpp:receipts' id='1'/>", ARCHIVE),
    "displayed": ("<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>", ARCHIVE),
    "correction": ("<body>ho</body><replace xmlns='urn:xmpp:message-correct:0' id='1'/>", ARCHIVE),
    "retraction": ("<retract xmlns='urn:xmpp:message-retract:1' id='1'/>", ARCHIVE),
    "reaction": ("<reactions xmlns='urn:xmpp:reactions:0' id='1'/>", ARCHIVE),
    "call": ("<propose xmlns='urn:xmpp:jingle-message:0' id='1'/>", ARCHIVE),
    "invitation": ("<x xmlns='jabber:x:conference' jid='r@c'/>", ARCHIVE),
    "unknown": ("<data xmlns='urn:unknown'/>", OFFLINE),
    "unknown and state": (f"<data xmlns='urn:unknown'/><active xmlns='{STATES}'/>", OFFLINE),
    "form": ("<x xmlns='jabber:x:data' type='form'/>", OFFLINE),
    "ringing": ("<ringing xmlns='urn:xmpp:jingle-message:0' id='1'/>", NONE),
    "state": (f"<composing xmlns='{STATES}'/>", NONE),
    "state and thread": (f"<gone xmlns='{STATES}'/><thread>t</thread>", NONE),
    "request alone": ("<request xmlns='urn:xmpp:receipts'/>", NONE),
    "pubsub": ("<event xmlns='http://jabber.org/protocol/pubsub#event'/>", NONE),
    "body in a foreign namespace": ("<body xmlns='urn:unknown'/>", OFFLINE),
}
HINTS = {
    "": {},
    "no-store": {NONE: NONE, OFFLINE: NONE, ARCHIVE: NONE},
    "no-permanent-store": {NONE: NONE, OFFLINE: OFFLINE, ARCHIVE: OFFLINE},
    "store": {NONE: ARCHIVE, OFFLINE: ARCHIVE, ARCHIVE: ARCHIVE},
    "store no-store": {NONE: NONE, OFFLINE: NONE, ARCHIVE: NONE},
    "store no-permanent-store": {NONE: OFFLINE, OFFLINE: OFFLINE, ARCHIVE: OFFLINE},
    "no-copy": {},
}


def hints(names: str) -> str:
    return "".join(f"<{name} xmlns='urn:xmpp:hints'/>" for name in names.split())


@pytest.mark.parametrize("kind", KINDS)
def test_retention(kind: str) -> None:
    inside, plain = KINDS[kind]
    for names, change in HINTS.items():
        for type in ("chat", "normal", "headline", "groupchat", "error"):
            stanza = parse_stanza(f"<message type='{type}'>{inside}{hints(names)}</message>".encode())
            wanted = change.get(plain, plain) if type in ("chat", "normal") else NONE
            assert POLICIES.policy(stanza).retention is wanted, (names, type)


def test_the_room_mark_is_an_invitation_in_normal_messages_only() -> None:
    mark = "<x xmlns='http://jabber.org/protocol/muc#user'/>"
    state = f"<composing xmlns='{STATES}'/>"
    for type, inside, wanted in (
        ("normal", mark, ARCHIVE),
        ("chat", mark + state, NONE),
        ("chat", mark + "<body/>", ARCHIVE),
        ("normal", mark + hints("no-store"), NONE),
    ):
        stanza = parse_stanza(f"<message type='{type}'>{inside}</message>".encode())
        assert POLICIES.policy(stanza).retention is wanted


# ---- through the server

CASES = [
    (kind, names)
    for kind, names in product(KINDS, HINTS)
    if kind in ("body", "unknown", "state", "receipt") or names == ""
]
PREFERENCES = {
    "always": ("always", "", ""),
    "never": ("never", "", ""),
    "roster, no contact": ("roster", "", ""),
    "never, but him": ("never", "<jid>romeo@localhost</jid>", ""),
    "always, but him": ("always", "", "<jid>romeo@localhost</jid>"),
    "always, but another resource of him": ("always", "", "<jid>romeo@localhost/other</jid>"),
    "always, but this resource of him": ("always", "", "<jid>romeo@localhost/orchard</jid>"),
}
WANTED = {"always", "never, but him", "always, but another resource of him"}


async def entries(server: Harness, owner: str) -> list[Entry]:
    found: list[Entry] = await server.storage.log(LOG).page(owner, Range(), 1000)
    return found


async def prefer(client: Client, name: str) -> None:
    default, always, never = PREFERENCES[name]
    prefs = f"<prefs xmlns='urn:xmpp:mam:2' default='{default}'><always>{always}</always><never>{never}</never></prefs>"
    assert (await client.iq(prefs, "set")).get("type") == "result"


def messages(received: list[Element]) -> list[Element]:
    return [each for each in received if each.tag == "{jabber:client}message"]


@pytest.mark.parametrize("online", [True, False], ids=["online", "offline"])
@pytest.mark.parametrize("preference", PREFERENCES)
async def test_as_the_table_says(server: Harness, preference: str, online: bool) -> None:
    """Archived, hidden or let go; told of; delivered once; and hidden ones are deleted when they are."""
    romeo = await server.login("romeo", "orchard", True)
    juliet = await server.login("juliet", "balcony", True)
    await prefer(juliet, preference)
    await juliet.receive_all()
    juliet.answers_pings = False  # until it is looked at, nothing counts as delivered
    if not online:
        juliet.close()
        await server.quiet()
    sent: dict[str, Retention] = {}
    for kind, names in CASES:
        inside, plain = KINDS[kind]
        kept = HINTS[names].get(plain, plain)
        sent[f"{kind}/{names}"] = kept
        romeo.send(f"<message type='chat' to='juliet@localhost' id='{kind}/{names}'>{inside}{hints(names)}</message>")
        await server.quiet()
        errors = [condition(each) for each in await romeo.receive_all()]
        assert errors == ([] if online or kept is not NONE else ["service-unavailable"]), (kind, names)
    for id, kept in sent.items():  # the sender's own archive follows the sender's preferences: the usual ones
        stored = [each for each in await entries(server, "romeo@localhost") if f"id='{id}'".encode() in each.body]
        assert [each.flags for each in stored] == ([0] if kept is ARCHIVE else []), id
    wanted = preference in WANTED
    flags = {NONE: [], OFFLINE: [3], ARCHIVE: [Flags.INCOMING if wanted else 3]}
    stored_flags = {each.body: each.flags for each in await entries(server, "juliet@localhost")}
    for id, kept in sent.items():
        found = [flags for body, flags in stored_flags.items() if f"id='{id}'".encode() in body]
        assert found == flags[kept], id
    if online:
        juliet.close()
    else:
        juliet = await server.login("juliet", "balcony", True)
        juliet.inbox.clear()
    await server.advance(3)
    left = await entries(server, "juliet@localhost")
    assert all(not each.flags & Flags.HIDDEN for each in left), "delivered, so what was hidden is deleted"
    assert len(left) == (sum(kept is ARCHIVE for kept in sent.values()) if wanted else 0)


@pytest.mark.parametrize("online", [True, False], ids=["online", "offline"])
async def test_each_kept_message_is_delivered_once(server: Harness, online: bool) -> None:
    romeo = await server.login("romeo", "orchard", True)
    juliet = await server.login("juliet", "balcony", presence=online)
    for kind, names in CASES:
        inside = KINDS[kind][0]
        romeo.send(f"<message type='chat' to='juliet@localhost' id='{kind}/{names}'>{inside}{hints(names)}</message>")
    await server.quiet()
    if not online:
        juliet.send("<presence/>")
    got = messages(await juliet.receive_all())
    wanted = [
        (f"{kind}/{names}", HINTS[names].get(KINDS[kind][1], KINDS[kind][1]))
        for kind, names in CASES
        if online or HINTS[names].get(KINDS[kind][1], KINDS[kind][1]) is not NONE
    ]
    assert [each.get("id") for each in got] == [id for id, _ in wanted]
    for each, (_, kept) in zip(got, wanted, strict=True):
        ids = each.findall("{urn:xmpp:sid:0}stanza-id")
        assert len(ids) == (kept is ARCHIVE)
        assert (each.find("{urn:xmpp:delay}delay") is not None) is (not online)
