"""How the server of another domain is found: real questions to a name server on this machine."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from tests.harness.clock import FakeClock
from tests.harness.dns import FAILS, SILENT, DnsServer, Records
from xmppd.net import questions
from xmppd.net.dns import Candidate, NoSuchDomain, ResolutionFailed, Resolver, ResolverError
from xmppd.net.hosts_file import parse
from xmppd.net.nameserver import Nameserver, nameserver

from .net_support import event_loop_policy

__all__ = ["event_loop_policy"]

PLAIN, DIRECT = "_xmpp-server._tcp.them.example", "_xmpps-server._tcp.them.example"


async def found(records: dict[str, Records], domain: str = "them.example", patience: float = 5.0) -> list[Candidate]:
    async with DnsServer(records) as names:
        resolver = Resolver(FakeClock(), [names.address], patience, random=Random(1), hosts=None)
        return await resolver.candidates(domain)


async def test_srv() -> None:
    assert await found({PLAIN: ["SRV 0 5 5269 xmpp.them.example."]}) == [Candidate("xmpp.them.example", 5269)]


async def test_priorities_of_both_services_are_mixed() -> None:
    records = {
        PLAIN: ["SRV 10 0 1 a.example.", "SRV 30 0 3 c.example."],
        DIRECT: ["SRV 20 0 2 b.example.", "SRV 40 0 443 d.example."],
    }
    assert await found(records) == [
        Candidate("a.example", 1),
        Candidate("b.example", 2, direct_tls=True),
        Candidate("c.example", 3),
        Candidate("d.example", 443, direct_tls=True),
    ]


async def test_weights() -> None:
    records = {PLAIN: ["SRV 1 70 1 a.example.", "SRV 1 0 3 c.example."], DIRECT: ["SRV 1 20 2 b.example."]}
    async with DnsServer(records) as names:
        resolver = Resolver(FakeClock(), [names.address], random=Random(7), hosts=None)
        first, last = Counter[int](), Counter[int]()
        for _ in range(2000):
            candidates = await resolver.candidates("them.example")
            assert sorted(each.port for each in candidates) == [1, 2, 3]
            first[candidates[0].port] += 1
            last[candidates[-1].port] += 1
    assert len(names.asked) == 2
    assert 1450 < first[1] < 1650 and 370 < first[2] < 530 and 5 < first[3] < 60


async def test_no_service_record() -> None:
    for records in ({"them.example": ["A 127.0.0.2", "AAAA ::2"]}, {PLAIN: [], "them.example": ["A 127.0.0.2"]}):
        made = await found({name: list(each) for name, each in records.items()})
        addresses = ("::2", "127.0.0.2") if PLAIN not in records else ("127.0.0.2",)
        assert made == [Candidate("them.example", 5269, False, addresses)]


@pytest.mark.parametrize(
    "records",
    [
        {},
        {"them.example": []},
        {PLAIN: ["SRV 0 0 0 ."], DIRECT: ["SRV 0 0 0 ."], "them.example": ["A 127.0.0.2"]},
        {DIRECT: ["SRV 0 0 0 ."], "them.example": ["A 127.0.0.2"]},
        {PLAIN: ["SRV 0 0 0 ."], "them.example": ["A 127.0.0.2"]},
        {PLAIN: ["SRV 0 0 0 ."], DIRECT: FAILS, "them.example": ["A 127.0.0.2"]},
    ],
)
async def test_not_there(records: dict[str, Records]) -> None:
    with pytest.raises(NoSuchDomain):
        await found(records)


async def test_one_service_is_not_offered() -> None:
    host = Candidate("a.example", 1)
    assert await found({PLAIN: ["SRV 0 0 1 a.example."], DIRECT: ["SRV 0 0 0 ."]}) == [host]
    assert await found({DIRECT: ["SRV 0 0 1 a.example."], PLAIN: ["SRV 0 0 0 ."]}) == [Candidate("a.example", 1, True)]
    assert await found({PLAIN: ["SRV 0 0 1 a.example.", "SRV 0 0 0 ."]}) == [host]


@pytest.mark.parametrize("how,patience", [(FAILS, 5.0), (SILENT, 0.5)])
async def test_nobody_answers(how: str, patience: float) -> None:
    with pytest.raises(ResolutionFailed):
        await found({PLAIN: how, DIRECT: how}, patience=patience)
    with pytest.raises(ResolutionFailed):  # it may have a service of the other kind
        await found({DIRECT: how, "them.example": ["A 127.0.0.2"]}, patience=patience)
    with pytest.raises(ResolutionFailed):
        await found({"them.example": how}, patience=patience)
    only = {PLAIN: ["SRV 0 0 1 a.example."], DIRECT: how}
    assert await found(only, patience=max(patience, 2.0)) == [Candidate("a.example", 1)]


async def test_no_name_server_at_all() -> None:
    with pytest.raises(ResolutionFailed):
        await Resolver(FakeClock(), ["127.0.0.1:9"], 0.3, hosts=None).candidates("them.example")


@pytest.mark.parametrize(
    "domain,address", [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("::1", "::1"), ("127.1", "127.0.0.1")]
)
async def test_addresses_need_no_question(domain: str, address: str) -> None:
    async with DnsServer({}) as names:
        resolver = Resolver(FakeClock(), [names.address], hosts=None)
        assert await resolver.candidates(domain) == [Candidate(address, 5269, False, (address,))]
        assert await resolver.addresses(domain) == (address,)
    assert not names.asked


@pytest.mark.parametrize("domain", ["them.example:22", "a b", "", "a..b", "-a.example", "a/b", "x" * 64 + ".example"])
async def test_what_is_no_domain_is_not_asked_for(domain: str) -> None:
    async with DnsServer({}) as names:
        with pytest.raises(NoSuchDomain):
            await Resolver(FakeClock(), [names.address], hosts=None).candidates(domain)
    assert not names.asked


async def test_a_name_that_is_too_long_for_its_services() -> None:
    domain = ".".join(["a" * 60] * 4)
    records = {domain: ["A 127.0.0.2"]}
    assert (await found({**records}, domain))[0].addresses == ("127.0.0.2",)


async def test_international_names() -> None:
    records = {"_xmpp-server._tcp.xn--bcher-kva.example": ["SRV 0 0 1 a.example."]}
    for domain in ("bücher.example", "BÜCHER.example", "xn--bcher-kva.example"):
        assert await found({**records}, domain) == [Candidate("a.example", 1)]


async def test_bad_targets_are_left_out() -> None:
    targets = [
        "b\\252cher.example.",
        "127.0.0.1.",
        "a\\032b.example.",
        "-a.example.",
        "a\\.b.example.",
        "xn--a.example.",
    ]
    records = {PLAIN: [f"SRV 0 0 {at} {target}" for at, target in enumerate(targets, 1)] + ["SRV 0 0 0 c.example."]}
    assert await found({**records}) == [Candidate("xn--a.example", 6)]
    with pytest.raises(NoSuchDomain):
        await found({PLAIN: ["SRV 0 0 1 127.0.0.1."], "them.example": ["A 127.0.0.2"]})


async def test_answers_are_cut() -> None:
    records = {
        PLAIN: [f"SRV {at} 0 {at} host{at}.example." for at in range(1, 101)],
        "a.example": [f"A 127.0.{at}.1" for at in range(100)] + [f"AAAA 2001:db8::{at:x}" for at in range(1, 100)],
    }
    async with DnsServer(records) as names:  # over TCP: too long for a datagram
        resolver = Resolver(FakeClock(), [names.address], hosts=None)
        assert [each.port for each in await resolver.candidates("them.example")] == list(range(1, 21))
        addresses = await resolver.addresses("a.example")
        assert len(addresses) == 16 and sum(":" in each for each in addresses) == 8


async def test_answers_that_are_too_long_are_not_read() -> None:
    with pytest.raises(ResolutionFailed, match=r"an answer of [0-9]+ bytes"):
        await found({PLAIN: [f"SRV {at} 0 5269 host{at}.example." for at in range(400)]})


async def test_one_family_fails() -> None:
    async with DnsServer({"a.example": ["A 127.0.0.2"]}) as names:
        resolver = Resolver(FakeClock(), [names.address], hosts=None)
        assert await resolver.addresses("a.example") == ("127.0.0.2",)
        with pytest.raises(NoSuchDomain, match="has no address"):
            await resolver.addresses("b.example")


async def test_aliases() -> None:
    """Who offers the service under another name (RFC 1034 section 3.6.2): a name server's answer has both."""
    records = {PLAIN: ["CNAME srv.example."], "srv.example": ["SRV 0 0 1 a.example."]}
    assert await found({**records}) == [Candidate("a.example", 1)]


@pytest.mark.parametrize("most", [512, 0], ids=["udp", "tcp"])
async def test_broken_answers(most: int) -> None:
    rng, came = Random(3), Counter[str]()

    def garble(wire: bytes) -> bytes:
        if rng.random() < 0.6:
            return wire
        broken = bytearray(wire)
        for _ in range(rng.randint(1, 3)):
            broken[rng.randrange(2, len(wire))] = rng.randrange(256)
        return bytes(broken[: rng.choice((len(wire), len(wire), rng.randrange(2, len(wire))))])

    async def one() -> None:
        resolver = Resolver(FakeClock(), [names.address], 2.0, hosts=None)
        try:
            came[type(await resolver.candidates("them.example")).__name__] += 1
        except ResolverError as error:
            came[type(error).__name__] += 1

    async with DnsServer({PLAIN: ["SRV 0 0 1 a.example.", "SRV 0 0 2 b.example."]}) as names:
        names.most, names.garble = most, garble
        await asyncio.gather(*(one() for _ in range(40)))
    assert came["list"] and came["ResolutionFailed"], came


# ---- what is kept


async def test_kept_as_long_as_the_answer_says() -> None:
    clock = FakeClock()
    async with DnsServer({PLAIN: ["SRV 0 0 1 a.example."]}, ttl=100, negative_ttl=40) as names:
        resolver = Resolver(clock, [names.address], hosts=None)
        for _ in range(3):
            await resolver.candidates("them.example")
        assert Counter(names.asked) == {(PLAIN, "SRV"): 1, (DIRECT, "SRV"): 1}
        clock.time += 41
        await resolver.candidates("them.example")
        assert Counter(names.asked) == {(PLAIN, "SRV"): 1, (DIRECT, "SRV"): 2}
        names.records[PLAIN] = ["SRV 0 0 2 a.example."]
        clock.time += 60
        assert (await resolver.candidates("them.example"))[0].port == 2
        names.records[PLAIN] = ["SRV 0 0 3 a.example."]
        assert (await resolver.candidates("them.example"))[0].port == 2
        resolver.forget()
        assert (await resolver.candidates("them.example"))[0].port == 3


@pytest.mark.parametrize("ttl,kept", [(0, 10), (1 << 30, 3600)])
async def test_neither_too_short_nor_too_long(ttl: int, kept: float) -> None:
    clock = FakeClock()
    async with DnsServer({"a.example": ["A 127.0.0.2", "AAAA ::2"]}, ttl=ttl) as names:
        resolver = Resolver(clock, [names.address], hosts=None)
        await resolver.addresses("a.example")
        clock.time += kept - 0.1
        await resolver.addresses("a.example")
        assert len(names.asked) == 2
        clock.time += 0.2
        await resolver.addresses("a.example")
        assert len(names.asked) == 4


async def test_failures_are_not_kept() -> None:
    async with DnsServer({PLAIN: FAILS, DIRECT: FAILS}) as names:
        resolver = Resolver(FakeClock(), [names.address], hosts=None)
        with pytest.raises(ResolutionFailed):
            await resolver.candidates("them.example")
        names.records = {PLAIN: ["SRV 0 0 1 a.example."]}
        assert await resolver.candidates("them.example") == [Candidate("a.example", 1)]


async def test_what_is_kept_has_a_bound() -> None:
    async with DnsServer({}) as names:
        resolver = Resolver(FakeClock(), [names.address], hosts=None)
        resolver._answers.size = 20_000
        for at in range(100):
            with pytest.raises(NoSuchDomain):
                await resolver.addresses(f"host{at}.example")
        assert resolver._answers.used <= 20_000


# ---- settings


@pytest.mark.parametrize("text", ["127.0.0.1", "127.0.0.1:5353", "::1", "[::1]", "[::1]:5353", "fe80::1%eth0"])
def test_name_servers(text: str) -> None:
    made = nameserver(text)
    assert made.answer_port() == (5353 if "5353" in text else 53)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "text", ["", "ns.example", "ns.example:53", "127.0.0.1:", "127.0.0.1:0", "[::1]:70000", "::1:x"]
)
def test_what_is_no_name_server(text: str) -> None:
    with pytest.raises(ValueError):
        Resolver(FakeClock(), [text])


async def test_name_servers_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "resolv.conf"
    monkeypatch.setattr(questions, "RESOLV_CONF", file)
    asked = questions.Questions((), 0.3)
    with pytest.raises(ResolutionFailed, match="no name server"):
        await asked.ask("a.example", "A", tuple)
    file.write_text("nameserver 127.0.0.1\nnameserver ::1\nsearch b.example\n")
    assert list(map(str, asked._current().nameservers)) == ["Do53:127.0.0.1@53", "Do53:::1@53"]
    assert asked._current() is asked._current()
    file.write_text("nameserver 127.0.0.3\n")
    assert [type(each) for each in asked._current().nameservers] == [Nameserver]
    assert list(map(str, asked._current().nameservers)) == ["Do53:127.0.0.3@53"]


# ---- /etc/hosts


def test_hosts_file() -> None:
    assert parse("127.0.0.2 A.Example b # c\n#127.0.0.3 d\n::2 a.example.\nx y\n\n127.0.0.4\n127.0.0.2 b\n") == {
        "a.example": ("127.0.0.2", "::2"),
        "b": ("127.0.0.2",),
    }


async def test_hosts_count_before_dns(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    async with DnsServer({"a.example": ["A 127.0.0.9"], PLAIN: ["SRV 0 0 1 a.example."]}) as names:
        resolver = Resolver(FakeClock(), [names.address], hosts=hosts)
        assert await resolver.addresses("a.example") == ("127.0.0.9",)  # there is no such file
        hosts.write_text("127.0.0.2 a.example them.example only.example\n")
        assert await resolver.addresses("A.example") == ("127.0.0.2",)
        assert await resolver.candidates("them.example") == [Candidate("a.example", 1)]  # they do not replace SRV
        only = [Candidate("only.example", 5269, False, ("127.0.0.2",))]
        assert await resolver.candidates("only.example") == only
        names.records = {f"_xmpp{s}-server._tcp.only.example": FAILS for s in ("", "s")}
        resolver.forget()
        assert await resolver.candidates("only.example") == only  # in a network without DNS
        hosts.write_text("127.0.0.33 a.example\n")
        assert await resolver.addresses("a.example") == ("127.0.0.33",)
        hosts.unlink()
        names.records = {"a.example": ["A 127.0.0.9"]}
        assert await resolver.addresses("a.example") == ("127.0.0.9",)


async def test_many_questions_at_once() -> None:
    async with DnsServer({f"host{at}.example": ["A 127.0.0.2"] for at in range(300)}) as names:
        resolver = Resolver(FakeClock(), [names.address], hosts=None)
        answers = await asyncio.gather(*(resolver.addresses(f"host{at}.example") for at in range(300)))
        assert set(answers) == {("127.0.0.2",)}
