"""What no level names: file transfer past firewalls, and what XEP-0479 section 3 looks forward to."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from ..model import Category, Verdict, failed, judged, passed
from ..registry import at, check
from ..trees import has
from ..visit import Visit, reached

BYTESTREAMS = "http://jabber.org/protocol/bytestreams"
SASL2, BIND2, FAST = "urn:xmpp:sasl:2", "urn:xmpp:bind:0", "urn:xmpp:fast:0"


def judge_proxy(service: str, answer: ET.Element | None) -> Verdict:
    """`answer`: to the question for its network address (XEP-0065 section 4)."""
    if not service or answer is None:
        return failed("no proxy was found (disco#items of the domain)")
    host = answer.find(f"{{{BYTESTREAMS}}}streamhost")
    if host is None or not host.get("host") or not host.get("port"):
        return failed(f"{service} does not tell its network address")
    return passed(f"{service} at {host.get('host')}:{host.get('port')}")


def inline(features: ET.Element, ns: str, name: str) -> bool:
    """Offered within SASL2 (XEP-0388 section 2.2)."""
    offered = features.find(f"{{{SASL2}}}authentication/{{{SASL2}}}inline")
    return has(offered, ns, name)


@check(
    "proxy", "Direct file transfer past firewalls", at(Category.IM), sources="XEP-0065", tester=True,
    mend="Add a SOCKS5 proxy (XEP-0065) as a service of the domain.",
)  # fmt: skip
async def proxy(visit: Visit) -> Verdict:
    service = await visit.service("proxy", "bytestreams")
    answer = await visit.get(f"<query xmlns='{BYTESTREAMS}'/>", service) if service else None
    return judge_proxy(service, answer)


@check(
    "sasl2", "One-step sign-in (SASL2)", at(Category.MOBILE), sources="XEP-0388", before=True,
    mend="Enable SASL2 (XEP-0388).",
)  # fmt: skip
async def sasl2(visit: Visit) -> Verdict:
    there = has((await visit.once(reached)).features, SASL2, "authentication")
    return judged(there, "offered", "not in the stream features")


@check(
    "bind2", "One-step session (Bind 2)", at(Category.MOBILE), sources="XEP-0386", before=True,
    mend="Enable Bind 2 (XEP-0386) within SASL2.",
)  # fmt: skip
async def bind2(visit: Visit) -> Verdict:
    return judged(inline((await visit.once(reached)).features, BIND2, "bind"), "offered", "not offered")


@check(
    "fast", "Tokens for fast sign-in", at(Category.MOBILE), sources="XEP-0484", before=True,
    mend="Enable FAST (XEP-0484) within SASL2.",
)  # fmt: skip
async def fast(visit: Visit) -> Verdict:
    return judged(inline((await visit.once(reached)).features, FAST, "fast"), "offered", "not offered")
