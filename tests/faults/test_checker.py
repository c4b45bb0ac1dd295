"""The checker can tell: each clause, broken by hand in a ledger that is otherwise right."""

from __future__ import annotations

import copy

import pytest

from tests.faults.checker import check
from tests.faults.ledger import Attempt, Device, How, Kind, Ledger, Message, Receipt

A, B, ROOM = "a@localhost", "b@localhost", "room@conference.localhost"
PHONE, OTHER, ACKS, BARE = f"{B}/phone", f"{A}/phone", f"{B}/acks", f"{B}/bare"


def message(number: int, **more: object) -> Message:
    made = Message(f"m{number}", OTHER, A, B, number, attempts=[Attempt(0, 1.0)], acked_at=2.0)
    for name, value in more.items():
        setattr(made, name, value)
    return made


def live(number: int, epoch: int = 0, stream: int = 1, how: How = How.LIVE, id: str | None = None) -> Receipt:
    return Receipt(f"m{number}", str(number + 100) if id is None else id, how, epoch, stream, 2.0)


@pytest.fixture
def ledger() -> Ledger:
    """Three messages from a to b, whose three devices got them; two said in a room."""
    made = Ledger(ends=["kill", "stop"])
    for number in (1, 2, 3):
        made.messages[f"m{number}"] = message(number)
    for number in (4, 5, 6):
        made.messages[f"m{number}"] = message(number, room=True, to=ROOM)
    for name, kind in ((PHONE, Kind.ARCHIVE), (ACKS, Kind.ACKS), (BARE, Kind.BARE)):
        made.devices[name] = Device(name, B, kind, receipts=[live(number) for number in (1, 2, 3)])
    said = [Receipt(f"m{n}", str(n), How.ROOM, 0, 1, 2.0, 1) for n in (4, 5, 6)]
    made.devices[OTHER] = Device(OTHER, A, Kind.ARCHIVE, receipts=said)
    made.archives = {
        A: [(n, f"m{n}") for n in (1, 2, 3)],
        B: [(n + 100, f"m{n}") for n in (1, 2, 3)],
        ROOM: [(n, f"m{n}") for n in (4, 5, 6)],
    }
    return made


def broken(ledger: Ledger) -> dict[str, int]:
    return dict(check(ledger).totals)


def test_what_is_right_is_right(ledger: Ledger) -> None:
    report = check(ledger)
    assert report.clean, report.text()
    assert report.facts["acknowledged"] == 6
    assert (report.facts["kills"], report.facts["stops"]) == (1, 1)


@pytest.mark.parametrize("owner", [A, B, ROOM])
def test_lost_from_an_archive(ledger: Ledger, owner: str) -> None:
    _, key = ledger.archives[owner].pop(1)
    for device in ledger.devices.values():
        device.receipts = [receipt for receipt in device.receipts if receipt.key != key]
    totals = broken(ledger)
    assert totals.pop("lost from archive") == 1
    assert set(totals) <= {"not delivered"}


def test_what_was_not_acknowledged_may_be_lost(ledger: Ledger) -> None:
    ledger.messages["m3"].acked_at = None
    for owner in (A, B):
        ledger.archives[owner].pop()
    for device in ledger.devices.values():
        device.receipts = [receipt for receipt in device.receipts if receipt.key != "m3"]
    assert broken(ledger) == {}


def test_not_delivered_to_anybody(ledger: Ledger) -> None:
    for name in (PHONE, ACKS, BARE):
        ledger.devices[name].receipts.pop()
    assert broken(ledger) == {"not delivered": 2}, "to the account, and to the one that reads its archive"


def test_not_delivered_to_one_that_reads_its_archive(ledger: Ledger) -> None:
    ledger.devices[PHONE].receipts.pop(0)
    assert broken(ledger) == {"not delivered": 1}
    ledger.devices[PHONE].since = 101
    assert broken(ledger) == {}, "it began behind it"


@pytest.mark.parametrize(
    ("name", "epoch", "stream", "found"),
    [
        (PHONE, 0, 1, {"doubled": 1}),
        (PHONE, 1, 2, {"doubled": 1}),
        (ACKS, 0, 2, {"doubled": 1}),
        (ACKS, 1, 2, {}),
        (BARE, 0, 1, {"doubled": 1}),
        (BARE, 0, 2, {}),
    ],
)
def test_the_same_entry_twice(ledger: Ledger, name: str, epoch: int, stream: int, found: dict[str, int]) -> None:
    """Only after a crash, and not to who reads its archive; without XEP-0198 after a broken connection."""
    ledger.devices[name].receipts.append(live(3, epoch, stream))
    assert broken(ledger) == found


def test_again_after_a_stop(ledger: Ledger) -> None:
    """A session outlives it."""
    ledger.ends = ["stop"]
    ledger.devices[ACKS].receipts.append(live(3, 1, 2))
    assert broken(ledger) == {"doubled": 1}


def test_again_when_nobody_came_back_for_the_session(ledger: Ledger) -> None:
    ledger.ends = []
    ledger.devices[ACKS].receipts.append(live(3, 0, 2))
    ledger.devices[ACKS].receipts[-1].at = 5.9
    assert broken(ledger) == {"doubled": 1}
    ledger.devices[ACKS].receipts[-1].at = 6.1
    assert broken(ledger) == {}, "a session is kept for 4 seconds"
    ledger.devices[PHONE].receipts.append(live(3, 0, 2))
    ledger.devices[PHONE].receipts[-1].at = 6.1
    assert broken(ledger) == {"doubled": 1}, "it reads its archive"


def test_again_in_the_place_of_a_session_that_the_client_gave_up(ledger: Ledger) -> None:
    device = ledger.devices[ACKS]
    device.receipts.append(live(3, 0, 2))
    device.receipts[-1].session = 1
    assert broken(ledger) == {"doubled": 1}
    device.abandoned[0] = 0.0
    assert broken(ledger) == {}


def test_late_because_another_device_gave_its_session_up(ledger: Ledger) -> None:
    """What that session held goes to the others when it ends, at the moment that its client begins another one."""
    receipts = ledger.devices[ACKS].receipts
    receipts[0], receipts[1], receipts[2] = receipts[1], receipts[2], receipts[0]
    assert broken(ledger) == {"out of order": 1}
    ledger.devices[PHONE].abandoned[1] = 1.9
    assert broken(ledger) == {}
    ledger.devices[PHONE].abandoned[1] = 2.1
    assert broken(ledger) == {"out of order": 1}, "it had come before"
    ledger.devices[PHONE].abandoned.clear()
    ledger.devices[OTHER].abandoned[1] = 1.9
    assert broken(ledger) == {"out of order": 1}, "another account's"


def test_late_the_first_time_and_again_later(ledger: Ledger) -> None:
    """What is excused the first time is no disorder when it comes again after a crash."""
    device = ledger.devices[ACKS]
    device.receipts.append(live(1, 1, 2))
    device.receipts[-1].at = 9.0
    ledger.devices[PHONE].abandoned[1] = 1.9
    for number in (2, 3):
        ledger.messages[f"m{number}"].attempts = [Attempt(0, 1.95)]
    for name in (PHONE, BARE):  # nobody else had it
        ledger.devices[name].kind = Kind.ACKS
        del ledger.devices[name].receipts[0]
    assert broken(ledger) == {}


def test_what_is_in_no_archive_may_come_twice_if_it_was_sent_twice_around_a_crash(ledger: Ledger) -> None:
    for owner in (A, B):
        ledger.archives[owner].pop()
    ledger.messages["m3"].kept = False
    for name in (PHONE, ACKS, BARE):
        ledger.devices[name].receipts[2] = live(3, id="")
    assert broken(ledger) == {}
    ledger.devices[PHONE].receipts.append(live(3, 0, 1, id=""))
    assert broken(ledger) == {"doubled": 1}
    ledger.messages["m3"].attempts.append(Attempt(0, 3.0))
    assert broken(ledger) == {"doubled": 1}, "no crash was between"
    ledger.messages["m3"].attempts.append(Attempt(1, 4.0))
    assert broken(ledger) == {}
    ledger.devices[ACKS].receipts += [live(3, 1, 2, id=""), live(3, 1, 2, id="")]
    assert broken(ledger) == {}, "both come again after the crash"
    ledger.devices[ACKS].receipts.append(live(3, 1, 2, id=""))
    assert broken(ledger) == {"doubled": 2}, "there were two, not three"


def test_read_and_then_sent(ledger: Ledger) -> None:
    receipts = ledger.devices[PHONE].receipts
    receipts[2] = live(3, how=How.READ)
    assert broken(ledger) == {}
    receipts.append(live(3))
    assert broken(ledger) == {"doubled": 1}


def test_a_carbon_of_what_came(ledger: Ledger) -> None:
    ledger.devices[PHONE].receipts.append(live(3, how=How.CARBON))
    assert broken(ledger) == {"doubled": 1}


def test_twice_in_a_room(ledger: Ledger) -> None:
    receipts = ledger.devices[OTHER].receipts
    receipts.append(copy.copy(receipts[2]))
    assert broken(ledger) == {"doubled": 1}


def test_a_gap_in_a_room(ledger: Ledger) -> None:
    receipts = ledger.devices[OTHER].receipts
    gone = receipts.pop(1)
    assert broken(ledger) == {"room gap": 1}
    for receipt in receipts[1:]:
        receipt.sitting = 2
    assert broken(ledger) == {}, f"it was not in the room when {gone.key} was said"


def test_two_entries_of_one_message(ledger: Ledger) -> None:
    ledger.archives[B].append((104, "m3"))
    assert broken(ledger) == {"doubled in archive": 1}
    ledger.messages["m3"].attempts.append(Attempt(1, 3.0))
    assert broken(ledger) == {"doubled in archive": 1}, "a resend is recognised"


def test_one_id_twice(ledger: Ledger) -> None:
    ledger.archives[B].append((103, "m3"))
    assert broken(ledger)["doubled in archive"] == 2


def test_order_in_an_archive(ledger: Ledger) -> None:
    ledger.archives[A] = [(1, "m1"), (2, "m3"), (3, "m2")]
    assert broken(ledger) == {"out of order in archive": 1}


def test_a_refusal_that_was_lost_makes_a_new_message(ledger: Ledger) -> None:
    """Refused for a quota, and sent again when there is room: behind what its sender said meanwhile."""
    ledger.archives[A] = [(1, "m1"), (2, "m3"), (3, "m2")]
    ledger.messages["m2"].attempts.append(Attempt(1, 3.0))
    assert broken(ledger) == {"out of order in archive": 1}
    refused = message(7, refused=True)
    ledger.messages["m7"] = refused
    assert broken(ledger) == {}, "others were refused there"


def test_ids_that_do_not_rise(ledger: Ledger) -> None:
    ledger.archives[A] = [(3, "m1"), (2, "m2"), (4, "m3")]
    assert broken(ledger) == {"out of order in archive": 1}


def test_order_of_receipt(ledger: Ledger) -> None:
    ledger.devices[ACKS].receipts.reverse()
    assert broken(ledger) == {"out of order": 2}


def test_another_devices_message_may_come_late_after_a_crash(ledger: Ledger) -> None:
    ledger.devices[ACKS].receipts = [live(2, 1), live(3, 1), live(1, 1)]
    report = check(ledger)
    assert report.clean
    assert report.excused["another device's, again after a crash"] > 0
    ledger.ends = ["stop", "kill"]
    assert broken(ledger) == {"out of order": 1}


def test_what_no_archive_has_comes_twice_behind_a_refusal(ledger: Ledger) -> None:
    """Its author sends both again when its session has ended; nobody knows that the second one had arrived."""
    ledger.messages["m3"].kept = False
    ledger.archives = {A: ledger.archives[A][:2], B: ledger.archives[B][:2], ROOM: ledger.archives[ROOM]}
    ledger.ends = ["stop", "stop"]
    ledger.messages["m3"].attempts.append(Attempt(1, 3.0))
    ledger.devices[ACKS].receipts.append(live(3))
    assert broken(ledger) == {"doubled": 1}
    ledger.messages["m0"] = message(0, refused=True)
    assert broken(ledger) == {}
    ledger.devices[ACKS].receipts.append(live(3))
    assert broken(ledger)["doubled"] > 0, "no more often than it was sent"


def test_what_no_archive_has_comes_twice_from_another_server(ledger: Ledger) -> None:
    """Which was killed before it knew that it had arrived."""
    ledger.messages["m3"].kept = False
    ledger.archives = {A: ledger.archives[A][:2], B: ledger.archives[B][:2], ROOM: ledger.archives[ROOM]}
    ledger.devices[ACKS].receipts += [live(3, 1)]
    ledger.devices[ACKS].receipts[2] = live(3, 1)
    ledger.messages["m3"].sender = "a@elsewhere.example"
    assert broken(ledger)["doubled"] == 1
    ledger.domains = 2
    assert "doubled" not in broken(ledger)
    ledger.ends = ["stop", "stop"]
    assert broken(ledger)["doubled"] == 1


def test_what_was_on_its_way_to_another_device_at_a_crash(ledger: Ledger) -> None:
    """Only where no archive has it."""
    device = ledger.devices[ACKS]
    device.receipts = [live(2), live(3), live(1, 1)]
    for other in list(ledger.devices.values()):
        if other.account == device.account and other is not device:
            other.receipts = [each for each in other.receipts if each.key != "m1"]
    assert broken(ledger)["out of order"] == 1
    ledger.messages["m1"].kept = False
    assert "out of order" not in broken(ledger)
    ledger.ends = ["stop", "kill"]
    assert broken(ledger)["out of order"] == 1


@pytest.mark.parametrize("id", ["", "104", "102"])
def test_seen_under_an_id_that_the_archive_does_not_have(ledger: Ledger, id: str) -> None:
    ledger.devices[ACKS].receipts[2] = live(3, id=id)
    assert broken(ledger) == {"seen, not in archive": 1}


def test_read_before_and_gone(ledger: Ledger) -> None:
    ledger.read(B, [(103, "m3"), (104, "m4")])
    assert broken(ledger) == {"seen, not in archive": 1}


def test_refused_and_yet_kept(ledger: Ledger) -> None:
    ledger.messages["m3"].refused = True
    assert broken(ledger) == {"refused, yet kept": 2}
    ledger.homes = 2
    assert broken(ledger) == {"refused, yet kept": 1}, "of the sender, whose home has not refused it"
    ledger.messages["m3"].attempts.append(Attempt(1, 3.0))
    assert broken(ledger) == {}, "the first attempt may be in"


def test_kept_against_its_hint(ledger: Ledger) -> None:
    ledger.messages["m3"].kept = False
    assert broken(ledger) == {"kept against its hint": 2}


@pytest.mark.parametrize("how", ["kill", "pause", "take-over", "deaf"])
def test_who_is_taken_over_writes_nothing_down_any_more(ledger: Ledger, how: str) -> None:
    """What came again behind it is excused as behind a kill, and only that."""
    ledger.ends[0] = how
    ledger.devices[ACKS].receipts.append(live(3, epoch=1, stream=2))
    report = check(ledger)
    assert report.clean and report.excused["again after a crash"] == 1
    ledger.ends[0] = "stop"
    assert broken(ledger) == {"doubled": 1}


def test_a_process_that_does_not_end_when_it_was_taken_over(ledger: Ledger) -> None:
    ledger.ends[0] = "pause"
    ledger.noticed.append(10.0)
    ledger.outlived.append("pause: it runs")
    report = check(ledger)
    assert report.totals == {"outlived its successor": 1}
    assert report.facts["taken over when paused"] == 1 and "10.0 s at most" in report.text()


def test_time_in_which_the_server_stood_still_does_not_count(ledger: Ledger) -> None:
    """A client was killed, and the server knew nothing of it: its session held a message for so much longer."""
    ledger.devices[f"{B}/old"] = Device(f"{B}/old", B, Kind.ACKS, killed=True, killed_at=100.0)
    first, second, third = ledger.devices[PHONE].receipts
    ledger.devices[PHONE].receipts = [first, third, second]
    for number, receipt, came in ((1, first, 110.1), (3, third, 110.2), (2, second, 120.0)):
        ledger.messages[f"m{number}"].attempts = [Attempt(0, 110.0)]
        receipt.at = came
    assert broken(ledger) == {"out of order": 1}
    ledger.stills.append((101.0, 109.5))
    report = check(ledger)
    assert report.clean and report.excused["left behind by a killed client"] == 1
