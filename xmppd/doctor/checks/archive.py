"""History of the account."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from ..model import Category, Level, Verdict, failed, judged
from ..registry import at, check
from ..visit import Visit, account_info

MAM = "urn:xmpp:mam:2"
RSM = "http://jabber.org/protocol/rsm"
ONE = f"<query xmlns='{MAM}' queryid='doctor'><set xmlns='{RSM}'><max>1</max></set></query>"


def judge_page(features: frozenset[str], answer: ET.Element) -> Verdict:
    if MAM not in features:
        return failed(f"{MAM} is not announced")
    if answer.tag != f"{{{MAM}}}fin":
        return failed(f"the answer is no <fin/> but {answer.tag}")
    count = answer.findtext(f"{{{RSM}}}set/{{{RSM}}}count")
    return judged(
        answer.find(f"{{{RSM}}}set") is not None,
        "a page was read" if count is None else f"{count} messages",
        "the answer has no result set (XEP-0059)",
    )


@check(
    "archive", "History", at(Category.IM, Level.ADVANCED), sources="XEP-0313", tester=True,
    mend="Enable the message archive (XEP-0313).",
)  # fmt: skip
async def archive(visit: Visit) -> Verdict:
    return judge_page((await visit.once(account_info)).features, await visit.set(ONE))
