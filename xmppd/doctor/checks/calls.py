"""The A/V Calling suite: how clients find each other's media."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..model import Category, Level, Verdict, failed, passed
from ..registry import at, check
from ..visit import Visit

DISCO = "urn:xmpp:extdisco:2"
CALLS = at(Category.CALLS, Level.CORE)


@dataclass(frozen=True)
class Service:
    """One that the server names. `credentials`: with user and password."""

    type: str
    host: str
    port: str
    credentials: bool

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" if self.port else self.host


def judge_stun(found: Sequence[Service]) -> Verdict:
    there = [str(each) for each in found if each.type in ("stun", "stuns")]
    return passed(", ".join(there)) if there else failed("no STUN service is named")


def judge_turn(found: Sequence[Service]) -> Verdict:
    """Without user and password nobody may use one."""
    there = [each for each in found if each.type in ("turn", "turns")]
    usable = [str(each) for each in there if each.credentials]
    if usable:
        return passed(", ".join(usable))
    return failed("TURN is named without user and password" if there else "no TURN service is named")


async def external(visit: Visit) -> list[Service]:
    found = await visit.get(f"<services xmlns='{DISCO}'/>", visit.domain)
    return [
        Service(
            each.get("type", ""),
            each.get("host", ""),
            each.get("port", ""),
            bool(each.get("username") and each.get("password")),
        )
        for each in found.findall(f"{{{DISCO}}}service")
    ]


@check(
    "stun", "STUN for calls", CALLS, sources="XEP-0215", tester=True,
    mend="Run a STUN and TURN server (coturn, for instance), and name it by external service discovery (XEP-0215).",
)  # fmt: skip
async def stun(visit: Visit) -> Verdict:
    return judge_stun(await visit.once(external))


@check(
    "turn", "TURN for calls", CALLS, sources="XEP-0215", tester=True,
    mend="Name a TURN server with passing user names and passwords (XEP-0215).",
)  # fmt: skip
async def turn(visit: Visit) -> Verdict:
    return judge_turn(await visit.once(external))
