"""The promise (docs/explanation/delivery.md), clause by clause, over a ledger. A pure function: no clock, no server."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from .ledger import Attempt, Device, How, Kind, Ledger, Message, Receipt

MUST_BE_ZERO = (
    "lost from archive",
    "not delivered",
    "room gap",
    "doubled in archive",
    "doubled",
    "out of order in archive",
    "out of order",
    "seen, not in archive",
    "refused, yet kept",
    "kept against its hint",
    "count denied",
    "wrong in the store",
    "outlived its successor",
)
"""The totals of broken promises."""
ENDS = {
    "kills": "kill",
    "stops": "stop",
    "taken over when paused": "pause",
    "taken over alive": "take-over",
    "taken over without answers": "deaf",
}
"""How processes end, as a report has it, and as the ledger has it."""
GRACE = 2.5
"""Seconds in which the server may not have seen yet that a connection is broken (it may have been stopped)."""

WINDOW = 30
"""Messages that a client with XEP-0198 has on their way (`client.WINDOW`)."""
KEPT_FOR = 4.0
"""Seconds that the server of a trial keeps a session for its client (`trial.RESUME`)."""


@dataclass
class Report:
    """`totals`: by clause. `excused`: what the promise allows; `repeats`: of that, entries that one device got twice,
    by what the device can do. `cases`: a few of each, to look at."""

    totals: Counter[str] = field(default_factory=Counter)
    excused: Counter[str] = field(default_factory=Counter)
    repeats: Counter[str] = field(default_factory=Counter)
    cases: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    facts: Counter[str] = field(default_factory=Counter)
    noticed: list[float] = field(default_factory=list)
    """Seconds until a process that was taken over had ended."""

    def bad(self, clause: str, case: str) -> None:
        assert clause in MUST_BE_ZERO, clause
        self.totals[clause] += 1
        if len(self.cases[clause]) < 8:
            self.cases[clause].append(case)

    def add(self, other: Report) -> None:
        self.totals += other.totals
        self.excused += other.excused
        self.repeats += other.repeats
        self.facts += other.facts
        self.noticed += other.noticed
        for clause, cases in other.cases.items():
            self.cases[clause] = (self.cases[clause] + cases)[:8]

    @property
    def clean(self) -> bool:
        return not +self.totals

    def text(self) -> str:
        lines = [f"  {name:<28}{count:>10,}" for name, count in self.facts.items() if count]
        if self.noticed:
            slowest = f"{max(self.noticed):.1f} s at most, {sorted(self.noticed)[len(self.noticed) // 2]:.2f} s median"
            lines.append(f"  a former process ended after {slowest}")
        lines += [f"  {name:<28}{self.totals[name]:>10,}" for name in MUST_BE_ZERO]
        lines += [f"  ({name}){'':<{max(1, 26 - len(name))}}{count:>10,}" for name, count in self.excused.items()]
        lines += [f"    ({name}){'':<{max(1, 44 - len(name))}}{count:>10,}" for name, count in self.repeats.items()]
        lines += [f"    {clause}: {case}" for clause, cases in self.cases.items() for case in cases]
        return "\n".join(lines)


def check(ledger: Ledger) -> Report:
    """Judge a finished trial: all archives read, every device that was not killed back and at rest."""
    report = Report()
    for line in ledger.store:
        report.bad("wrong in the store", line)
    judge = _Judge(ledger, report)
    judge.archives()
    judge.deliveries()
    for device in ledger.devices.values():
        judge.device(device)
    messages, facts = ledger.messages.values(), report.facts
    facts["sent"] = len(messages)
    facts["sent again"] = sum(len(message.attempts) - 1 for message in messages)
    facts["acknowledged"] = sum(message.accepted for message in messages)
    facts["refused"] = sum(message.refused for message in messages)
    facts["received"] = sum(
        receipt.how is not How.READ for each in ledger.devices.values() for receipt in each.receipts
    )
    facts["entries in archives"] = sum(map(len, ledger.archives.values()))
    facts["store checks"] = ledger.checks
    for case in ledger.outlived:
        report.bad("outlived its successor", case)
    for name, end in ENDS.items():
        facts[name] = ledger.ends.count(end)
    facts["went on after a pause"] = len(ledger.stills)
    facts.update(ledger.counts)
    report.noticed = list(ledger.noticed)
    return report


class _Judge:
    def __init__(self, ledger: Ledger, report: Report) -> None:
        self.ledger, self.report = ledger, report
        self.present = {owner: {str(id): key for id, key in entries} for owner, entries in ledger.archives.items()}
        """By owner: what is in the archive at the end."""
        self.first: dict[str, dict[str, list[tuple[int, str]]]] = defaultdict(lambda: defaultdict(list))
        """By account and message: the epochs in which its devices got it."""
        for device in ledger.devices.values():
            for receipt in device.receipts:
                if receipt.how is not How.ROOM:
                    self.first[device.account][receipt.key].append((receipt.epoch, device.name))
        self.keys = {owner: set(entries.values()) for owner, entries in self.present.items()}
        self.refusing = {message.to for message in ledger.messages.values() if message.refused}
        """Addresses with a quota that was reached."""

    # ---- archives

    def owners(self, message: Message) -> list[str]:
        """Whose archives keep it."""
        if not message.kept:
            return []
        return [message.to] if message.room else list(dict.fromkeys((message.sender, message.to)))

    def archives(self) -> None:
        for owner, entries in self.ledger.archives.items():
            self._once(owner, entries)
            self._in_order(owner, entries)
            for id, key in self.ledger.earlier.get(owner, set()):
                if self.present[owner].get(str(id)) != key:
                    self.report.bad("seen, not in archive", f"{key} was {id} of {owner} when it was read before")
        for message in self.ledger.messages.values():
            if message.accepted:
                for owner in self.owners(message):
                    if message.key not in self.keys[owner]:
                        self.report.bad("lost from archive", f"{message.key} of {owner}: {message}")
            if message.refused and len(message.attempts) == 1:
                for owner, keys in self.keys.items():
                    if message.key in keys and owner == message.sender and self.ledger.homes > 1:
                        # Its home had decided that it was said before the other one refused it, as other servers do.
                        self.report.excused["refused by another home, said all the same"] += 1
                    elif message.key in keys:
                        self.report.bad("refused, yet kept", f"{message.key} in {owner}")

    def _once(self, owner: str, entries: list[tuple[int, str]]) -> None:
        """Each id, each message once; nothing that should not be kept."""
        for id, count in Counter(id for id, _ in entries).items():
            if count > 1:
                self.report.bad("doubled in archive", f"id {id} of {owner}, {count} times")
        for key, count in Counter(key for _, key in entries).items():
            message = self.ledger.messages[key]
            for _ in range(count - 1):
                self.report.bad("doubled in archive", f"{key} of {owner}, {count} times: {message}")
            if not message.kept:
                self.report.bad("kept against its hint", f"{key} in {owner}")

    def _in_order(self, owner: str, entries: list[tuple[int, str]]) -> None:
        if entries != sorted(entries, key=lambda entry: entry[0]):
            self.report.bad("out of order in archive", f"ids of {owner} do not rise")
        for case in self.disorder(key for _, key in entries):
            self.report.bad("out of order in archive", f"{case} of {owner}")

    def disorder(self, keys: Iterable[str]) -> Iterator[str]:
        """Messages that come, for the first time, behind a later one of the same author."""
        last: dict[str, int] = {}
        seen: set[str] = set()
        for key in keys:
            if key in seen:
                continue
            seen.add(key)
            message = self.ledger.messages[key]
            if message.number < last.get(message.author, -1):
                if len(message.attempts) > 1 and message.to in self.refusing:
                    # What was refused is not known to the server: sent again, because the refusal was lost with a
                    # connection, it is a new message, and there may be room for it now.
                    self.report.excused["refused at first"] += 1
                else:
                    yield f"{key} behind {message.author} {last[message.author]}"
            else:
                last[message.author] = message.number

    # ---- deliveries

    def deliveries(self) -> None:
        """To each account: at least one device got what was accepted; each that reads its archive got all of it."""
        by_account: dict[str, list[Device]] = defaultdict(list)
        for device in self.ledger.devices.values():
            by_account[device.account].append(device)
        seen = {
            account: {receipt.key for device in devices for receipt in device.receipts if receipt.how is not How.ROOM}
            for account, devices in by_account.items()
        }
        for message in self.ledger.messages.values():
            if message.room or message.to not in by_account:
                continue
            if not message.accepted and message.key not in self.keys[message.to]:
                continue
            if message.key not in seen[message.to]:
                self.report.bad("not delivered", f"{message.key} to {message.to}: {message}")
        for device in self.ledger.devices.values():
            if device.kind is Kind.ARCHIVE and not device.killed:
                self._complete(device)

    def _complete(self, device: Device) -> None:
        """Its history has no hole, from where it began."""
        known = {receipt.key for receipt in device.receipts}
        for id, key in self.ledger.archives[device.account]:
            message = self.ledger.messages[key]
            if id > device.since and message.to == device.account and key not in known:
                self.report.bad("not delivered", f"{key} ({id}) to {device.name}, which reads its archive")

    # ---- what one device got

    def device(self, device: Device) -> None:
        by_key: dict[str, list[Receipt]] = defaultdict(list)
        for receipt in device.receipts:
            self._is_kept(device, receipt)
            if receipt.how is not How.READ:
                by_key[receipt.key].append(receipt)
        for key, receipts in by_key.items():
            if len(receipts) > 1:
                self._more_than_once(device, self.ledger.messages[key], receipts)
        for _ in range(device.denied):
            self.report.bad("count denied", f"{device.name}: {device.errors}")
        if device.kind is Kind.ARCHIVE:
            self._read_and_sent(device)
        for how in (How.LIVE, How.CARBON, How.ROOM):
            # Only where it comes for the first time does its place say anything, late or not.
            firsts = {receipt.key: receipt for receipt in reversed(device.receipts) if receipt.how is how}
            came = [
                receipt
                for receipt in device.receipts
                if firsts.get(receipt.key) is receipt and not self._repeated(device, receipt)
            ]
            for case in self.disorder(receipt.key for receipt in came):
                self.report.bad("out of order", f"{case} at {device.name} ({how.value})")
        for sitting in self.ledger.sittings(device):
            self._gaps(device, sitting)

    def _repeated(self, device: Device, receipt: Receipt) -> bool:
        """It comes late because it comes again: another device of the account had it before the server was killed."""
        message = self.ledger.messages[receipt.key]
        if receipt.how is not How.LIVE:
            return False
        for other in self.ledger.devices.values():
            if other.account == device.account and other is not device and other.killed:
                sent = message.attempts[0].at
                waited = sent - other.killed_at - self.ledger.stood(other.killed_at, sent)
                late = receipt.at - message.attempts[-1].at > 1.0
                late = late or self.ledger.crashed(message.attempts[-1].epoch, receipt.epoch)
                if late and waited < KEPT_FOR + GRACE and receipt.at > other.killed_at:
                    # Its session held it until it ended: then what it left goes to the others (point 6).
                    self.report.excused["left behind by a killed client"] += 1
                    return True
            for replaced in other.abandoned.values() if other.account == device.account and other is not device else ():
                if message.attempts[0].at < replaced < receipt.at < replaced + GRACE:
                    # The same: it ended when its client came back and began another one.
                    self.report.excused["left behind by an abandoned session"] += 1
                    return True
        others = any(each.account == device.account and each is not device for each in self.ledger.devices.values())
        if others and not message.kept and self.ledger.crashed(message.attempts[-1].epoch, receipt.epoch):
            # On its way to another device, which never got it, when the server was killed; no archive has it, so who
            # has read its archive gets it only now.
            self.report.excused["on its way to another device at a crash"] += 1
            return True
        for epoch, name in self.first[device.account].get(receipt.key, ()):
            if name != device.name and self.ledger.crashed(epoch, receipt.epoch):
                self.report.excused["another device's, again after a crash"] += 1
                return True
        return False

    def owner(self, device: Device, receipt: Receipt) -> str:
        """Whose archive has it under the id it came with."""
        return self.ledger.messages[receipt.key].to if receipt.how is How.ROOM else device.account

    def _is_kept(self, device: Device, receipt: Receipt) -> None:
        """What anyone has received is in the archive, under the id it came with."""
        message = self.ledger.messages[receipt.key]
        if not message.kept:
            return
        owner = self.owner(device, receipt)
        if self.present[owner].get(receipt.id) != receipt.key:
            self.report.bad("seen, not in archive", f"{receipt.key} ({receipt.id or 'no id'}) at {device.name}")

    def _more_than_once(self, device: Device, message: Message, receipts: list[Receipt]) -> None:
        case = f"{message.key} at {device.name}: {receipts} {message}"
        by_id: dict[str, list[Receipt]] = defaultdict(list)
        for receipt in receipts:
            by_id[receipt.id].append(receipt)
        for same in by_id.values():
            if message.kept:
                for first, second in pairwise(same):
                    self._again(device, message, first, second, case)
        if not message.kept:
            again = self._sent_again(message) + self._sent_again_by_its_server(message, receipts)
            copies = Counter(receipt.stream for receipt in receipts)
            for first, second in pairwise(receipts):
                resent = again > 0 and self.ledger.crashed(first.epoch, second.epoch)
                if resent or (first.stream == second.stream and copies[second.stream] <= 1 + again):
                    # Two messages for the server, and after a further crash both may come again.
                    self.report.excused["in no archive, sent again after a crash"] += 1
                else:
                    self._again(device, message, first, second, case)
        # Other ids are other archive entries, and counted there.

    def _sent_again(self, message: Message) -> int:
        """How often its sender wrote it anew after a crash, or because one before it was refused: what follows that is
        not acknowledged by a session that ends before its client has the refusal. What is in no archive is not
        recognised then."""
        return sum(
            self.ledger.crashed(first.epoch, second.epoch) or self._behind_a_refusal(message, first)
            for first, second in pairwise(message.attempts)
        )

    def _sent_again_by_its_server(self, message: Message, receipts: list[Receipt]) -> bool:
        """Whether its server, killed before it knew that the other one had it, has sent it again."""
        across = self.ledger.domains > 1 and message.sender.rpartition("@")[2] != message.to.rpartition("@")[2]
        return across and self.ledger.crashed(message.attempts[0].epoch, receipts[-1].epoch)

    def _behind_a_refusal(self, message: Message, attempt: Attempt) -> bool:
        """Whether its author wrote something just before it that was refused."""
        return any(
            other.author == message.author
            and other.refused
            and message.number - WINDOW <= other.number < message.number
            and any(each.epoch == attempt.epoch for each in other.attempts)
            for other in self.ledger.messages.values()
        )

    def _again(self, device: Device, message: Message, first: Receipt, second: Receipt, case: str) -> None:
        """The same entry twice."""
        excuse = self._excuse(device, message, first, second)
        if excuse:
            self.report.excused[excuse] += 1
            self.report.repeats[f"{excuse}: {device.kind.value}"] += 1
        else:
            self.report.bad("doubled", case)

    def _excuse(self, device: Device, message: Message, first: Receipt, second: Receipt) -> str:
        """Only after a crash, and only where no archive says what is known already; "" for none."""
        reads = device.kind is Kind.ARCHIVE and message.kept
        delivered = first.how is How.LIVE and second.how is How.LIVE
        if second.how is How.LIVE and not reads and self.ledger.crashed(first.epoch, second.epoch):
            return "again after a crash"
        if second.how is How.ROOM and self._reflected(device, second):
            return "seen again by who said it again"
        if delivered and device.kind is Kind.BARE and first.stream != second.stream:
            return "again without XEP-0198"
        if delivered and not reads and first.session in device.abandoned and second.session > first.session:
            return "again in the place of an abandoned session"
        if delivered and not reads and first.stream != second.stream and self._away(device, second) >= KEPT_FOR:
            # Its acknowledgement was on its way when the connection broke, and nobody came back for the session.
            return "again after its session ended"
        return ""

    def _reflected(self, device: Device, receipt: Receipt) -> bool:
        """Who says something again in a room sees that it has arrived."""
        message = self.ledger.messages[receipt.key]
        return message.author == device.name and len(message.attempts) > 1

    def _away(self, device: Device, receipt: Receipt) -> float:
        """Seconds without a sign of life on an earlier stream."""
        before = [each.at for each in device.receipts if each.stream < receipt.stream]
        return receipt.at - max(before, default=receipt.at)

    def _read_and_sent(self, device: Device) -> None:
        """What it had fetched itself is not sent to it any more."""
        fetched: set[str] = set()
        for receipt in device.receipts:
            if receipt.how is How.READ:
                fetched.add(receipt.id)
            elif receipt.how is not How.ROOM and receipt.id and receipt.id in fetched:
                self.report.bad("doubled", f"{receipt.key} ({receipt.id}) at {device.name}: read and sent")

    def _gaps(self, device: Device, sitting: list[Receipt]) -> None:
        """Between the first and the last message of a stay in a room nothing is missing."""
        owner = self.ledger.messages[sitting[0].key].to
        got = {int(receipt.id) for receipt in sitting if receipt.id}
        new = [int(receipt.id) for receipt in sitting if receipt.id and not self._reflected(device, receipt)]
        if not new:
            return
        first, last = min(new), max(new)
        for id, key in self.ledger.archives[owner]:
            if first < id < last and id not in got:
                self.report.bad("room gap", f"{key} ({id}) at {device.name}")
