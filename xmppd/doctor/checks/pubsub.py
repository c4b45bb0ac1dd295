"""Personal eventing: published to nodes of our own, which go again."""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from ..client import Refused, Visitor
from ..model import Category, Level, Verdict, failed, judged, passed
from ..registry import at, check
from ..trees import DATA, fields, submit
from ..visit import Visit, account_info

PUBSUB = "http://jabber.org/protocol/pubsub"
OWNER = f"{PUBSUB}#owner"
OPTIONS = f"{PUBSUB}#publish-options"
PROBE = "urn:xmppd:doctor"
PEP = "Enable personal eventing (XEP-0163)"


@dataclass(frozen=True)
class Published:
    """What became of an item. `problem`: where it went wrong, "" nowhere."""

    problem: str = ""
    config: dict[str, str] = field(default_factory=dict)
    """Of the node, as its owner sees it; empty when that is not told."""


@dataclass(frozen=True)
class Notification:
    """XEP-0163: what other sessions would be told is not looked at; the item comes back."""

    private: Published
    open: Published


def judge_pep(identities: frozenset[tuple[str, str]], seen: Published) -> Verdict:
    if ("pubsub", "pep") not in identities:
        return failed("the account is no PEP service (identity pubsub/pep)")
    return judged(not seen.problem, "published, read, retracted, deleted", seen.problem)


def judge_private(features: frozenset[str], seen: Published) -> Verdict:
    """XEP-0223: stored for good, for nobody else, in one step."""
    if seen.problem:
        return failed(seen.problem)
    if OPTIONS not in features:
        return failed("publish-options is not told; clients do not dare to store anything private")
    return _judge_config(seen, {"pubsub#access_model": "whitelist", "pubsub#persist_items": "1"})


def judge_open(features: frozenset[str], seen: Published) -> Verdict:
    """XEP-0384: keys that anybody can read."""
    if seen.problem:
        return failed(seen.problem)
    if OPTIONS not in features:
        return failed("publish-options is not told; keys can be read by contacts only")
    return _judge_config(seen, {"pubsub#access_model": "open"})


def _judge_config(seen: Published, wanted: dict[str, str]) -> Verdict:
    if not seen.config:
        return passed("published; the node's configuration is not told")
    for name, value in wanted.items():
        there = seen.config.get(name, "nothing")
        if there.replace("true", "1") != value:
            return failed(f"{name} of the node is {there}, not {value} as was asked for")
    return passed(", ".join(f"{name.removeprefix('pubsub#')} {seen.config[name]}" for name in wanted))


async def published(visit: Visit) -> Notification:
    """Both kinds of nodes, each of its own."""
    private = await _publish(visit, "private", "whitelist")
    return Notification(private, await _publish(visit, "open", "open"))


async def _publish(visit: Visit, name: str, access: str) -> Published:
    node, item = f"xmppd-doctor-{visit.token}-{name}", f"<probe xmlns='{PROBE}'/>"

    async def delete(client: Visitor) -> None:
        await client.ask("set", f"<pubsub xmlns='{OWNER}'><delete node='{node}'/></pubsub>")

    options = submit(OPTIONS, [("pubsub#persist_items", "1"), ("pubsub#access_model", access)])
    made = f"PubSub node {node} of {visit.bare}"
    async with visit.cleanup.after(visit.client, made, delete):
        step = "publishing"
        try:
            await visit.set(
                f"<pubsub xmlns='{PUBSUB}'><publish node='{node}'><item id='current'>{item}</item></publish>"
                f"<publish-options>{options}</publish-options></pubsub>"
            )
            step = "reading"
            found = await visit.get(f"<pubsub xmlns='{PUBSUB}'><items node='{node}'/></pubsub>")
            if found.find(f".//{{{PROBE}}}probe") is None:
                return Published("what was published is not there")
            config = await _config(visit, node)
            step = "retracting"
            await visit.set(f"<pubsub xmlns='{PUBSUB}'><retract node='{node}'><item id='current'/></retract></pubsub>")
            step = "deleting"
            await delete(visit.client)
        except Refused as refused:
            if step == "publishing":
                visit.cleanup.discard(made)
            return Published(f"{step} was refused: {refused}")
        return Published("", config)


async def _config(visit: Visit, node: str) -> dict[str, str]:
    try:
        found = await visit.get(f"<pubsub xmlns='{OWNER}'><configure node='{node}'/></pubsub>")
    except Refused:
        return {}
    form = found.find(f".//{DATA}x")
    return {name: "".join(values) for name, values in fields(form if form is not None else ET.Element("x")).items()}


@check(
    "pep", "Event publishing", at(Category.CORE, Level.ADVANCED), sources="XEP-0163", mend=f"{PEP}.", tester=True
)  # fmt: skip
async def pep(visit: Visit) -> Verdict:
    identities = (await visit.once(account_info)).identities
    if ("pubsub", "pep") not in identities:
        return judge_pep(identities, Published())
    return judge_pep(identities, (await visit.once(published)).private)


@check(
    "pep-private", "Private data via PubSub", at(Category.IM, Level.ADVANCED), sources="XEP-0223",
    mend=f"{PEP} with publish-options, persistent items and access by whitelist.",
)  # fmt: skip
async def private(visit: Visit) -> Verdict:
    return judge_private((await visit.once(account_info)).features, (await visit.once(published)).private)


@check(
    "pep-open", "Keys for OMEMO can be read by everybody", at(Category.IM), sources="XEP-0384, XEP-0060", tester=True,
    mend=f"{PEP} with publish-options and access for all.",
)  # fmt: skip
async def omemo(visit: Visit) -> Verdict:
    return judge_open((await visit.once(account_info)).features, (await visit.once(published)).open)
