"""The IM suite: roster, messages, blocking, vCards, bookmarks, what is stored for the account."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree as ET

from ..client import Refused, Visitor
from ..model import Category, Level, Verdict, failed, judged, passed
from ..registry import at, check
from ..trees import has
from ..visit import Visit, account_info, server_info

CORE, ADVANCED, NOTE = (at(Category.IM, level) for level in (Level.CORE, Level.ADVANCED, Level.NOTE))
ROSTER = "jabber:iq:roster"
CARBONS = "urn:xmpp:carbons:2"
BLOCKING = "urn:xmpp:blocking"
PRIVATE = "jabber:iq:private"
CONVERSION = "urn:xmpp:pep-vcard-conversion:0"
COMPAT = "urn:xmpp:bookmarks:1#compat"
LEGACY = "urn:xmpp:bookmarks-conversion:0"


def judge_feature(features: frozenset[str], feature: str, where: str = "the account") -> Verdict:
    return judged(feature in features, "announced", f"{where} does not announce {feature}")


# ---- messages


@check("roster", "Contacts and messages", CORE, sources="RFC 6121", mend="See what the server's log says.")
async def roster(visit: Visit) -> Verdict:
    """The roster, and a message to this very session: nothing is stored, nobody else gets it."""
    found = await visit.get(f"<query xmlns='{ROSTER}'/>")
    await _to_myself(visit, "<probe xmlns='urn:xmppd:doctor'/>")
    return passed(f"{len(found)} contacts; a message arrives")


@check(
    "direct-invitations", "Direct invitations to rooms", CORE, sources="XEP-0249",
    mend="Let the server pass messages on as they are.",
)  # fmt: skip
async def invitations(visit: Visit) -> Verdict:
    room = f"xmppd-doctor-{visit.token}@{visit.domain}"
    await _to_myself(visit, f"<x xmlns='jabber:x:conference' jid='{room}'/>")
    return passed("passed on")


async def _to_myself(visit: Visit, inside: str) -> ET.Element:
    """Raises TimeoutError when it does not come back as it was."""
    name, client = ET.fromstring(inside).tag, visit.client
    message = ET.Element("message", {"to": client.boundjid.full, "id": f"doctor-{visit.token}"})
    message.extend([ET.fromstring(inside), ET.Element("{urn:xmpp:hints}no-store")])
    return await client.expect(lambda xml: xml.find(name) is not None, ET.tostring(message, "unicode"))


@check(
    "roster-versions", "Roster versions", NOTE, sources="RFC 6121, XEP-0237", tester=True,
    mend="Enable roster versioning; clients then need not load all contacts each time.",
)  # fmt: skip
async def versions(visit: Visit) -> Verdict:
    announced = has(visit.client.offers[-1], "urn:xmpp:features:rosterver", "ver")
    found = await visit.get(f"<query xmlns='{ROSTER}' ver=''/>")
    return judge_versions(announced, found.get("ver"))


def judge_versions(announced: bool, version: str | None) -> Verdict:
    if not announced:
        return failed("not in the stream features")
    return judged(version is not None, "the roster has a version", "announced, but the roster has no version")


@check(
    "carbons", "Messages on all devices", CORE, sources="XEP-0280", mend="Enable carbons (XEP-0280).", tester=True
)  # fmt: skip
async def carbons(visit: Visit) -> Verdict:
    await visit.set(f"<enable xmlns='{CARBONS}'/>")
    await visit.set(f"<disable xmlns='{CARBONS}'/>")
    return judge_feature((await visit.once(server_info)).features, CARBONS, "the server")


@check(
    "offline", "Messages for those who are away", NOTE, sources="XEP-0160", tester=True,
    mend="Let the server keep messages for accounts that are offline (XEP-0160).",
)  # fmt: skip
async def offline(visit: Visit) -> Verdict:
    return judge_feature((await visit.once(server_info)).features, "msgoffline", "the server")


# ---- blocking


@dataclass(frozen=True)
class Blocked:
    """Whether the test address was on the list: before, while it was blocked, afterwards."""

    before: bool
    meanwhile: bool
    after: bool


def judge_blocking(seen: Blocked) -> Verdict:
    if not seen.meanwhile:
        return failed("what was blocked is not on the list")
    return judged(seen.after == seen.before, "blocked and unblocked", "what was unblocked is still on the list")


@check(
    "blocking", "Blocking", ADVANCED, sources="XEP-0191", tester=True,
    mend="Enable the blocking command (XEP-0191).",
)  # fmt: skip
async def blocking(visit: Visit) -> Verdict:
    """With an address that nobody can have."""
    jid = f"{visit.token}@xmppd-doctor.invalid"
    item = f"<item xmlns='{BLOCKING}' jid='{jid}'/>"

    async def unblock(client: Visitor) -> None:
        await client.ask("set", f"<unblock xmlns='{BLOCKING}'>{item}</unblock>")

    async def listed() -> bool:
        return jid in {each.get("jid") for each in await visit.get(f"<blocklist xmlns='{BLOCKING}'/>")}

    before = await listed()
    async with visit.cleanup.after(visit.client, f"{jid} on the block list of {visit.bare}", unblock):
        await visit.set(f"<block xmlns='{BLOCKING}'>{item}</block>")
        meanwhile = await listed()
    verdict = judge_blocking(Blocked(before, meanwhile, await listed()))
    announced = judge_feature((await visit.once(server_info)).features, BLOCKING, "the server")
    return verdict if announced.result == "pass" else announced


# ---- what is stored


@check("vcard", "vCards", CORE, sources="XEP-0054", mend="Enable vcard-temp (XEP-0054).")
async def vcard(visit: Visit) -> Verdict:
    try:
        await visit.get("<vCard xmlns='vcard-temp'/>")
    except Refused as refused:
        if refused.condition != "item-not-found":  # there is none yet (section 3.1)
            raise
    return judge_feature((await visit.once(server_info)).features, "vcard-temp", "the server")


@check(
    "avatar-conversion", "Avatars for old and new clients", ADVANCED, sources="XEP-0398, XEP-0153", tester=True,
    mend="Enable the conversion of avatars between PEP and vCard (XEP-0398).",
)  # fmt: skip
async def avatars(visit: Visit) -> Verdict:
    return judge_feature((await visit.once(account_info)).features, CONVERSION)


@check(
    "private-storage", "Private XML storage", ADVANCED, sources="XEP-0049", mend="Enable private storage (XEP-0049)."
)
async def storage(visit: Visit) -> Verdict:
    """Written, read, emptied: XEP-0049 knows no deleting."""
    empty = "<doctor xmlns='urn:xmppd:doctor'/>"

    async def clear(client: Visitor) -> None:
        await client.ask("set", f"<query xmlns='{PRIVATE}'>{empty}</query>")

    async with visit.cleanup.after(visit.client, f"private storage of {visit.bare}: doctor", clear):
        full = f"<doctor xmlns='urn:xmppd:doctor'><token>{visit.token}</token></doctor>"
        await visit.set(f"<query xmlns='{PRIVATE}'>{full}</query>")
        found = await visit.get(f"<query xmlns='{PRIVATE}'>{empty}</query>")
    there = found.findtext(".//{urn:xmppd:doctor}token")
    return judged(there == visit.token, "written and read", "what was written is not there")


@check(
    "bookmarks-private", "Bookmarks: in private storage", ADVANCED, sources="XEP-0048",
    mend="Enable private storage (XEP-0049), where old clients have their bookmarks.",
)  # fmt: skip
async def bookmarks(visit: Visit) -> Verdict:
    found = await visit.get(f"<query xmlns='{PRIVATE}'><storage xmlns='storage:bookmarks'/></query>")
    stored = found.find("{storage:bookmarks}storage")
    return judged(stored is not None, f"{len(stored) if stored is not None else 0} stored", "no answer to the question")


@check(
    "bookmarks", "Bookmarks: the same for old and new clients", ADVANCED, sources="XEP-0402",
    mend="Enable PEP native bookmarks (XEP-0402) with conversion for older clients (section 5).",
)  # fmt: skip
async def native(visit: Visit) -> Verdict:
    return judge_feature((await visit.once(account_info)).features, COMPAT)


@check(
    "bookmarks-conversion", "Bookmarks: conversion", NOTE, sources="XEP-0411", tester=True,
    mend="Enable the conversion of bookmarks (XEP-0411, or XEP-0402 section 5).",
)  # fmt: skip
async def conversion(visit: Visit) -> Verdict:
    features = (await visit.once(account_info)).features
    return judged(
        bool({COMPAT, LEGACY} & features), "announced", f"the account announces neither {LEGACY} nor {COMPAT}"
    )
