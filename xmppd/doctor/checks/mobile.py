"""The Mobile suite: connections that break, devices that sleep."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from ..client import Visitor
from ..model import Category, Level, Verdict, failed, judged, passed
from ..registry import at, check
from ..trees import has
from ..visit import Visit, account_info, server_info

SM = "urn:xmpp:sm:3"
ENABLED, FAILED = f"{{{SM}}}enabled", f"{{{SM}}}failed"
CSI = "urn:xmpp:csi:0"
PUSH = "urn:xmpp:push:0"


@dataclass(frozen=True)
class Resumed:
    """What became of a session whose connection was cut. `handled`: what the server said it had received."""

    offered: bool = False
    enabled: bool = False
    handled: str | None = None
    resumable: bool = False
    resumed: bool = False
    longest: str | None = None
    """Seconds that the server keeps a session."""


def judge_resumption(seen: Resumed) -> Verdict:
    if not seen.offered:
        return failed("not in the stream features")
    if not seen.enabled:
        return failed("enabling it was refused")
    if seen.handled is None or not seen.handled.isdigit():
        return failed("a request for an acknowledgement is not answered")
    if not seen.resumable:
        return failed("acknowledgements only; sessions cannot be resumed", "Let sessions be resumed (section 5).")
    if not seen.resumed:
        return failed("the session was gone when the client came back")
    kept = f"; sessions are kept for {seen.longest} s" if seen.longest else ""
    return passed(f"enabled, cut, resumed{kept}")


def judge_push(account: frozenset[str], server: frozenset[str]) -> Verdict:
    """XEP-0357 section 4: the account announces it; older servers do it on the domain."""
    return judged(PUSH in account | server, "announced", f"neither the account nor the server announces {PUSH}")


@check(
    "stream-management", "Surviving lost connections", at(Category.IM, Level.ADVANCED), at(Category.MOBILE, Level.CORE),
    sources="XEP-0198", mend="Enable stream management (XEP-0198) with resumption.", tester=True,
)  # fmt: skip
async def stream_management(visit: Visit) -> Verdict:
    """With a session of its own, which ends in order, so that the server does not wait for it."""
    if not has(visit.client.offers[-1], SM, "sm"):
        return judge_resumption(Resumed())
    other = await visit.visitor(resumable=True)
    try:
        return judge_resumption(await _cut_and_resume(visit, other))
    finally:
        await other.leave()


async def _cut_and_resume(visit: Visit, other: Visitor) -> Resumed:
    seen = Resumed(offered=True)
    async with asyncio.timeout(visit.timeout):
        while not {ENABLED, FAILED} & set(other.last):  # noqa: ASYNC110 - slixmpp tells nobody
            await asyncio.sleep(0.01)
    if FAILED in other.last or visit.address is None:
        return seen
    enabled = other.last[ENABLED]
    answer = await other.expect(lambda xml: xml.tag == f"{{{SM}}}a", f"<r xmlns='{SM}'/>")
    seen = replace(
        seen,
        enabled=True,
        handled=answer.get("h"),
        resumable=enabled.get("resume") in ("true", "1"),
        longest=enabled.get("max"),
    )
    if not seen.resumable:
        return seen
    await other.cut()
    await other.sign_in(visit.address)
    return replace(seen, resumed=other.resumed)


@check(
    "client-state", "Resting while nobody looks", at(Category.MOBILE, Level.CORE), sources="XEP-0352", tester=True,
    mend="Enable client state indication (XEP-0352).",
)  # fmt: skip
async def client_state(visit: Visit) -> Verdict:
    """Announced, and the server still answers a client that rests."""
    if not has(visit.client.offers[-1], CSI, "csi"):
        return failed("not in the stream features")
    for state in ("inactive", "active"):
        visit.client.send_raw(f"<{state} xmlns='{CSI}'/>")
        await visit.get("<query xmlns='jabber:iq:roster'/>")
    return passed("inactive and active are understood")


@check(
    "push", "Push notifications", at(Category.MOBILE, Level.ADVANCED), sources="XEP-0357", tester=True,
    mend="Enable push notifications (XEP-0357).",
)  # fmt: skip
async def push(visit: Visit) -> Verdict:
    return judge_push((await visit.once(account_info)).features, (await visit.once(server_info)).features)
