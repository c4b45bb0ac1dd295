"""XEP-0377: Spam Reporting, and the queue of reports that administrators work off by ad-hoc commands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from secrets import token_hex
from typing import Final

from xmppd.config import option
from xmppd.contracts.archive import LOG
from xmppd.contracts.blocking import BLOCKED, Blocked
from xmppd.contracts.commands import COMMANDS, Ask, Call, Command, CommandAsk, Done, Who
from xmppd.errors import ItemNotFound, NotAcceptable
from xmppd.plugin import JID, E, Element, Plugin, Xep, on
from xmppd.storage.api import Range
from xmppd.xep.forms import NS as DATA_NS
from xmppd.xep.forms import Field, form
from xmppd.xep.numbers import log_id
from xmppd.xml import children, find, text_of

NS: Final = "urn:xmpp:reporting:1"
SID: Final = "urn:xmpp:sid:0"
REASONS: Final = ("urn:xmpp:reporting:spam", "urn:xmpp:reporting:abuse")
NODE: Final = "urn:xmppd:reports"
DAY: Final = 86_400.0
LONGEST: Final = 1000
SHOWN: Final = 100


@dataclass(frozen=True)
class Config:
    per_day: int = option(20, "Reports of one account within a day; later ones only block.", low=1, high=10_000)
    kept: int = option(1000, "Reports that wait; of more the oldest go.", low=10, high=100_000)
    messages: int = option(10, "Messages that one report may show.", low=0, high=100)


@dataclass(frozen=True, slots=True)
class Report:
    """`at`: seconds since 1970 UTC. `messages`: what the reporter showed of its archive, as UTF-8 XML."""

    at: float
    reporter: str
    reported: str
    reason: str
    text: str = ""
    messages: tuple[str, ...] = ()


class Reports(Plugin[Config]):
    xeps = (Xep(377, "0.4.0", "with a block; nothing is passed on to other servers"),)
    features = (NS,)

    def setup(self) -> None:
        self.reports = self.host.storage.map("report", Report)
        self.log = self.host.storage.log(LOG)

    @on(BLOCKED)
    async def blocked(self, event: Blocked) -> None:
        report = find(event.item, NS, "report")
        if report is None or str(report.get("reason", "")) not in REASONS:
            return
        host = self.host.domain
        async with self.host.locks.hold(f"reports {host}"):
            waiting = await self.reports.read_all(host)
            now, reporter = self.host.clock.now(), event.owner.bare
            if (
                sum(each.reporter == reporter and abs(now - each.at) < DAY for each in waiting.values())
                >= self.config.per_day
            ):
                return
            made = Report(
                now,
                reporter,
                event.jid.full,
                str(report.get("reason")),
                text_of(find(report, NS, "text")).strip()[:LONGEST],
                await self._shown(reporter, event.jid.to_bare(), report),
            )
            oldest = sorted(waiting, key=lambda id: waiting[id].at)
            surplus = oldest[: max(0, len(waiting) - self.config.kept + 1)]
            writes = [self.reports.delete(host, id) for id in surplus]
            await self.host.storage.commit([*writes, self.reports.put(host, token_hex(8), made)])

    async def _shown(self, owner: str, peer: JID, report: Element) -> tuple[str, ...]:
        """Of the reporter's own archive, and only what the reported has written: not a former account of that name."""
        ids = [str(each.get("id", "")) for each in children(report, SID, "stanza-id")]
        numbers = tuple(found for id in ids if (found := log_id(id)) is not None)[: self.config.messages]
        if not numbers:
            return ()
        account = await self.host.router.routes.open_account(peer)
        since = account.created_at if account is not None else None
        entries = await self.log.page(owner, Range(ids=numbers, peer=peer.bare, low=since), self.config.messages)
        return tuple(entry.body.decode() for entry in entries)

    # ---- the queue

    @on(COMMANDS)
    def offer(self, ask: CommandAsk) -> Iterable[Command]:
        if ask.account is None:
            yield Command(NODE, "Reports of spam and abuse", Who.ADMIN, self.show)
            yield Command(f"{NODE}#resolve", "A report is dealt with", Who.ADMIN, self.ask)

    async def show(self, call: Call) -> Done:
        found = sorted((await self.reports.read_all(self.host.domain)).items(), key=lambda each: each[1].at)
        result = form("result", NODE, ())
        names = ("id", "at", "reporter", "reported", "reason", "text", "messages")
        result.append(E("reported", DATA_NS, {}, *(E("field", DATA_NS, {"var": name}) for name in names)))
        for id, each in found[:SHOWN]:
            reason = each.reason.rpartition(":")[2]
            values = (id, str(int(each.at)), each.reporter, each.reported, reason, each.text, "\n".join(each.messages))
            fields = [Field(name, values=(value,)).element() for name, value in zip(names, values, strict=True)]
            result.append(E("item", DATA_NS, {}, *fields))
        return Done(f"{len(found)} reports wait", form=result)

    async def ask(self, call: Call) -> Ask:
        return Ask(form("form", NODE, [Field("id", label="Which report", required=True)]), complete=self.resolve)

    async def resolve(self, call: Call) -> Done:
        id = call.form.text("id") if call.form is not None else None
        if not id:
            raise NotAcceptable("which report?")
        if await self.reports.read(self.host.domain, id) is None:
            raise ItemNotFound("there is no such report")
        await self.host.storage.commit([self.reports.delete(self.host.domain, id)])
        return Done("done")
