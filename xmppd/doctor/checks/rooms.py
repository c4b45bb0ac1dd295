"""Group chat: a room is made, looked at from all sides, and destroyed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..client import Refused, Visitor
from ..model import Category, Level, Verdict, failed, judged
from ..registry import at, check
from ..trees import DATA, fields, submit
from ..visit import Visit
from .archive import MAM, ONE

MUC = "http://jabber.org/protocol/muc"
OWNER = f"{MUC}#owner"
CONFIG = f"{MUC}#roomconfig"
ARCHIVING = {"mam", "muc#roomconfig_enablearchiving", "muc#roomconfig_mam"}
SELF_PING = f"{MUC}#self-ping-optimization"
MODERATION = {"urn:xmpp:message-moderate:1", "urn:xmpp:message-moderate:0"}
HIDDEN = {"muc#roomconfig_publicroom": "0", "muc#roomconfig_persistentroom": "0"}
CORE, ADVANCED, NOTE = (at(Category.IM, level) for level in (Level.CORE, Level.ADVANCED, Level.NOTE))


@dataclass(frozen=True)
class Room:
    """What was seen of it. Of questions: the condition of the error, "" for a result."""

    service: str = ""
    problem: str = ""
    """Why there was no room to look at."""
    fields: frozenset[str] = frozenset()
    """Of the form of the new room."""
    features: frozenset[str] = frozenset()
    archive: str = ""
    vcard: str = ""
    self_ping: str = ""
    gone: bool = False


def judge_room(seen: Room) -> Verdict:
    if seen.problem:
        return failed(seen.problem)
    return judged(seen.gone, f"made and destroyed on {seen.service}", "the room is still there after it was destroyed")


def judge_archive(seen: Room) -> Verdict:
    if seen.problem:
        return failed(seen.problem)
    if MAM in seen.features:
        return judged(not seen.archive, "on in new rooms", f"announced, but a query is answered with {seen.archive}")
    possible = sorted(ARCHIVING & seen.fields)
    return judged(bool(possible), f"can be turned on ({', '.join(possible)})", "rooms have no archive")


def judge_self_ping(seen: Room) -> Verdict:
    if seen.problem:
        return failed(seen.problem)
    if seen.self_ping:
        return failed(f"a ping to oneself is answered with {seen.self_ping}")
    return judged(SELF_PING in seen.features, "answered by the room", f"rooms do not announce {SELF_PING}")


def judge_vcard(seen: Room) -> Verdict:
    if seen.problem:
        return failed(seen.problem)
    if "vcard-temp" not in seen.features:
        return failed("rooms do not announce vcard-temp")
    fine = seen.vcard in ("", "item-not-found")
    return judged(fine, "answered", f"announced, but asked for it is answered with {seen.vcard}")


def judge_moderation(seen: Room) -> Verdict:
    if seen.problem:
        return failed(seen.problem)
    return judged(bool(MODERATION & seen.features), "announced", "rooms do not announce it")


async def room(visit: Visit) -> Room:
    """Make one, look, destroy it."""
    service = await visit.service("conference", "text", MUC)
    if not service:
        return Room(problem="no service for rooms was found (disco#items of the domain)")
    address, nick = f"xmppd-doctor-{visit.token}@{service}", "doctor"

    async def destroy(client: Visitor) -> None:
        try:
            await client.ask("set", f"<query xmlns='{OWNER}'><destroy/></query>", address)
        except Refused as refused:
            if refused.condition != "forbidden":  # it is gone, and such an address is not for everybody
                raise

    async with visit.cleanup.after(visit.client, f"room {address}", destroy):
        seen = Room(service)
        try:
            await _enter(visit, f"{address}/{nick}")
            seen = replace(seen, fields=await _configure(visit, address))
            seen = await _look(visit, address, nick, seen)
        except Refused as refused:
            seen = replace(seen, problem=f"making a room was refused: {refused}")
    return replace(seen, gone=not seen.problem and await _gone(visit, address))


async def _enter(visit: Visit, occupant: str) -> None:
    """Raises Refused."""
    answer = await visit.client.expect(
        lambda xml: xml.tag == "{jabber:client}presence" and xml.get("from") == occupant,
        f"<presence to='{occupant}'><x xmlns='{MUC}'><history maxstanzas='0'/></x></presence>",
    )
    if answer.get("type") == "error":
        error = answer.find("{jabber:client}error")
        conditions = [each.tag.rpartition("}")[2] for each in error] if error is not None else []
        raise Refused(conditions[0] if conditions else "undefined-condition")


async def _configure(visit: Visit, address: str) -> frozenset[str]:
    """The room hides, and ends when it is left: should all else fail. Raises Refused."""
    found = await visit.get(f"<query xmlns='{OWNER}'/>", address)
    form = found.find(f".//{DATA}x")
    known = frozenset(fields(form) if form is not None else ())
    chosen = [(name, value) for name, value in HIDDEN.items() if name in known]
    await visit.set(f"<query xmlns='{OWNER}'>{submit(CONFIG, chosen)}</query>", address)
    return known


async def _look(visit: Visit, address: str, nick: str, seen: Room) -> Room:
    found = await visit.info(address)
    return replace(
        seen,
        features=found.features,
        archive=await _condition(visit, "set", ONE, address) if MAM in found.features else "",
        vcard=await _condition(visit, "get", "<vCard xmlns='vcard-temp'/>", address),
        self_ping=await _condition(visit, "get", "<ping xmlns='urn:xmpp:ping'/>", f"{address}/{nick}"),
    )


async def _condition(visit: Visit, kind: str, payload: str, to: str) -> str:
    try:
        await (visit.set if kind == "set" else visit.get)(payload, to)
    except Refused as refused:
        return refused.condition
    except TimeoutError:
        return "no answer"
    return ""


async def _gone(visit: Visit, address: str) -> bool:
    try:
        await visit.info(address)
    except Refused:
        return True
    return False


@check(
    "rooms", "Group chat", CORE, sources="XEP-0045", tester=True,
    mend="Add a service for rooms (XEP-0045) where accounts may make some.",
)  # fmt: skip
async def rooms(visit: Visit) -> Verdict:
    return judge_room(await visit.once(room))


@check(
    "room-archive", "History of rooms", ADVANCED, sources="XEP-0313", tester=True,
    mend="Enable the archive of rooms (XEP-0313).",
)  # fmt: skip
async def archive(visit: Visit) -> Verdict:
    return judge_archive(await visit.once(room))


@check(
    "self-ping", "Seeing whether one is still in a room", ADVANCED, sources="XEP-0410",
    mend="Enable the optimisation of self-pings (XEP-0410 section 4) in rooms.",
)  # fmt: skip
async def self_ping(visit: Visit) -> Verdict:
    return judge_self_ping(await visit.once(room))


@check(
    "room-vcard", "Pictures of rooms", NOTE, sources="XEP-0054, XEP-0486", tester=True,
    mend="Enable vCards of rooms.",
)  # fmt: skip
async def vcard(visit: Visit) -> Verdict:
    return judge_vcard(await visit.once(room))


@check(
    "moderation",
    "Moderating messages in rooms",
    NOTE,
    sources="XEP-0425",
    mend="Enable moderation (XEP-0425) in rooms.",
)
async def moderation(visit: Visit) -> Verdict:
    return judge_moderation(await visit.once(room))
