"""What an administrator of one of two servers sees of the other, and what `xmppd reload` changes between them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.authority import Authority
from tests.harness.dns import DnsServer
from tests.ports import free_port
from tests.process.client import Wire, body
from tests.process.server import xmppd
from tests.process.two_servers import Domain, talking

pytestmark = pytest.mark.timeout(120)
PING = "<ping xmlns='urn:xmpp:ping'/>"


@pytest.fixture
async def two(tmp_path: Path, dns: DnsServer) -> AsyncIterator[tuple[Domain, Domain]]:
    async with talking(tmp_path, dns) as made:
        yield made


async def reload(domain: Domain, **federation: Any) -> str:
    """With these options changed; None leaves one out."""
    whole = json.loads(domain.server.config.read_text())
    options = whole["federation"] | federation
    whole["federation"] = {name: value for name, value in options.items() if value is not None}
    domain.server.config.write_text(json.dumps(whole))
    outcome = await domain.server.cli("reload")
    return outcome.out + outcome.err


async def ping(wire: Wire, to: str) -> str:
    """The condition of the error, "" for an answer."""
    answer = await wire.iq(PING, to=to)
    error = answer.find("{*}error")
    return "" if error is None else str(error[0].tag).partition("}")[2]


async def test_a_domain_is_blocked_and_let_in_again(two: tuple[Domain, Domain]) -> None:
    montague, capulet = two
    romeo, juliet = await montague.client(), await capulet.client()
    romeo.send(f"<message to='{capulet.jid}' type='chat' id='m1'><body>m1</body></message>")
    assert body(await juliet.find("message")) == "m1"
    juliet.send(f"<message to='{montague.jid}' type='chat' id='m2'><body>m2</body></message>")
    assert body(await romeo.find("message")) == "m2"
    assert "changed: federation" in await reload(montague, block=[capulet.name])
    await capulet.server.logged("policy-violation")
    assert await ping(romeo, capulet.name) == "remote-server-not-found"
    assert await ping(juliet, montague.name) == "remote-server-timeout"
    assert "changed: federation" in await reload(montague, block=None)
    assert await ping(romeo, capulet.name) == ""
    assert "changed: nothing" in await reload(montague)


async def test_stricter_options_end_streams_that_do_not_meet_them(two: tuple[Domain, Domain], tmp_path: Path) -> None:
    """Other authorities: what was proved under the old ones is proved no more, and cannot be again."""
    montague, capulet = two
    romeo, juliet = await montague.client(), await capulet.client()
    assert await ping(romeo, capulet.name) == await ping(juliet, montague.name) == ""
    (tmp_path / "others").mkdir()
    others = Authority(tmp_path / "others")
    said = await reload(montague, authorities=str(others.file), dialback=False)
    assert "changed: federation" in said
    await capulet.server.logged("policy-violation")
    assert await ping(romeo, capulet.name) == "remote-server-timeout"
    await montague.server.logged("its certificate proves nothing")
    said = await reload(montague, authorities=str(tmp_path / "none.pem"))
    assert "federation.authorities" in said and "no such file" in said


async def test_name_servers_and_networks_change(two: tuple[Domain, Domain], dns: DnsServer) -> None:
    montague, capulet = two
    romeo = await montague.client()
    assert await ping(romeo, capulet.name) == ""
    assert "changed: federation" in await reload(montague, private_addresses=[], block=[capulet.name])
    await reload(montague, block=None)
    assert await ping(romeo, capulet.name) == "remote-server-timeout"
    await montague.server.logged("is not a public address")
    async with DnsServer({}) as other:
        await reload(montague, private_addresses=["127.0.0.0/8"], nameservers=[other.address])
        assert await ping(romeo, capulet.name) == "remote-server-not-found"
        assert other.asked
    await reload(montague, nameservers=[dns.address])
    assert await ping(romeo, capulet.name) == ""


def test_who_talks_to_no_other_loads_nothing_for_it() -> None:
    """dnspython alone is three megabytes."""
    code = "import sys, xmppd.cli, xmppd.server.server, xmppd.server.listeners; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    for_others = {"dns", "aiohappyeyeballs", "xmppd.net.trust", "xmppd.net.dns", "xmppd.streams.remote_domains"}
    assert "xmppd.server.server" in loaded and not for_others & set(loaded)


# ---- what is seen


async def listed(domain: Domain, *more: str) -> dict[str, Any]:
    """By the other domain."""
    outcome = await domain.server.cli("domain", "list", *more, "--json")
    assert outcome.status == 0, outcome.err
    return {each["domain"]: each for each in json.loads(outcome.out)["domains"]}


async def metrics(domain: Domain) -> dict[str, float]:
    """Those of other servers."""
    lines = (await domain.server.cli("metrics")).out.splitlines()
    told = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in told if "_remote_" in name}


async def test_streams_are_listed(two: tuple[Domain, Domain]) -> None:
    montague, capulet = two
    assert (await montague.server.cli("domain", "list")).out.startswith("There are no streams to other servers")
    done = await montague.server.cli("domain", "ping", "CAPULET.test")
    assert done.status == 0 and done.out.startswith("capulet.test has answered within "), done
    (found,) = (await listed(montague)).values()
    (stream,) = found["streams"]
    seen = (stream["direction"], stream["host"], stream["proof"], stream["tls"], stream["both_ways"])
    assert seen == ("out", montague.name, "certificate", "TLSv1.3", True)
    assert (found["waiting"], found["failures"], found["connecting"]) == (0, [], False)
    shown = (await montague.server.cli("domain", "list")).out.splitlines()
    assert shown[0] == "capulet.test"
    told = "  stream to it from montague.test and back: by certificate, TLSv1.3, 127.0.0.1, since 20"
    assert shown[1].startswith(told)
    assert set(await listed(montague, capulet.name)) == set(await listed(montague, "test")) == {capulet.name}
    assert await listed(montague, "apulet.test") == {}
    numbers = await metrics(montague)
    assert [numbers[f'xmppd_remote_streams{{direction="{way}"}}'] for way in ("in", "out")] == [0, 1]
    assert numbers["xmppd_remote_waiting_stanzas"] == 0


async def test_one_stream_for_each_direction_by_a_reload(two: tuple[Domain, Domain]) -> None:
    montague, capulet = two
    romeo, juliet = await montague.client(), await capulet.client()
    assert await ping(romeo, capulet.name) == ""
    assert "changed: federation" in await reload(montague, bidi=False)
    assert await ping(romeo, capulet.name) == await ping(juliet, montague.name) == ""
    streams = (await listed(montague))[capulet.name]["streams"]
    assert [(each["direction"], each["both_ways"]) for each in streams] == [("in", False), ("out", False)]
    assert "changed: federation" in await reload(montague, bidi=None, domains={capulet.name: {"bidi": False}})
    assert (await listed(montague))[capulet.name]["streams"] == streams


async def test_who_has_proved_itself_by_dialback(tmp_path: Path, dns: DnsServer) -> None:
    """Certificates that each has signed itself; a reload that asks for better ones ends the streams."""
    authority = Authority(tmp_path)
    montague = Domain(tmp_path / "montague", "montague.test", "romeo", dns, authority, self_signed=True)
    capulet = Domain(tmp_path / "capulet", "capulet.test", "juliet", dns, authority, self_signed=True)
    try:
        for each in (montague, capulet):
            await each.start()
        assert (await montague.server.cli("domain", "ping", capulet.name)).status == 0
        streams = (await listed(montague))[capulet.name]["streams"]
        assert [(each["direction"], each["proof"]) for each in streams] == [("out", "dialback")]
        assert "changed: federation" in await reload(montague, dialback=False)
        assert await listed(montague) == {}
        done = await montague.server.cli("domain", "ping", capulet.name)
        assert done.status == 1 and "its certificate proves nothing: self-signed" in done.err
    finally:
        montague.server.kill()
        capulet.server.kill()


async def test_what_waits_is_told_and_why(two: tuple[Domain, Domain]) -> None:
    montague, capulet = two
    romeo = await montague.client()
    await capulet.server.stop()
    for number in range(3):
        romeo.send(f"<message to='{capulet.jid}' type='chat' id='m{number}'><body>m{number}</body></message>")
    await montague.server.logged("capulet.test cannot be reached for montague.test")
    found = (await listed(montague))[capulet.name]
    assert (found["waiting"], found["kept"], found["connecting"], found["streams"]) == (3, 3, True, [])
    (failure,) = found["failures"]
    assert failure["direction"] == "out" and f":{capulet.port} (STARTTLS): " in failure["text"]
    numbers = await metrics(montague)
    assert numbers["xmppd_remote_kept_stanzas"] == numbers["xmppd_remote_waiting_stanzas"] == 3
    assert numbers["xmppd_remote_waiting_bytes"] > 1000
    assert numbers['xmppd_remote_failures_total{direction="out",reason="connection"}'] >= 1
    done = await montague.server.cli("domain", "ping", capulet.name)
    assert done.status == 1 and "cannot be reached: remote-server-timeout" in done.err and "STARTTLS" in done.err
    await capulet.start()
    juliet = await capulet.client()
    assert [body(await juliet.find("message", within=30)) for _ in range(3)] == ["m0", "m1", "m2"]
    await romeo.iq(PING, to=capulet.name)  # it was acknowledged what came before
    assert (await metrics(montague))["xmppd_remote_kept_stanzas"] == 0


async def test_who_cannot_prove_itself_is_seen(two: tuple[Domain, Domain], tmp_path: Path) -> None:
    """Their certificate is of an authority that we do not trust, and we take no dialback."""
    montague, capulet = two
    (tmp_path / "others").mkdir()
    await reload(montague, authorities=str(Authority(tmp_path / "others").file), dialback=False)
    done = await capulet.server.cli("domain", "ping", montague.name)
    assert done.status == 1
    (failure,) = [each for each in (await listed(montague))[capulet.name]["failures"] if each["direction"] == "in"]
    assert "signed by an authority that is not trusted" in failure["text"]
    assert (await metrics(montague))['xmppd_remote_failures_total{direction="in",reason="certificate"}'] >= 1


async def test_what_cannot_be_pinged(two: tuple[Domain, Domain]) -> None:
    montague, _ = two
    for domain, said in (
        (montague.rooms, "is of this server"),
        ("a b", "a b: "),
        ("nowhere.test", "nowhere.test cannot be reached: remote-server-not-found"),
    ):
        done = await montague.server.cli("domain", "ping", domain)
        assert done.status == 1 and said in done.err, done
    await reload(montague, block=["*.blocked.test"])
    done = await montague.server.cli("domain", "ping", "a.blocked.test")
    assert done.status == 1 and "does not talk to a.blocked.test" in done.err


# ---- the doctor


async def examined(domain: str, dns: DnsServer, folder: Path, *more: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """The exit status; of each row what came out, and what was found."""
    words = ("--json", "--resolver", dns.address, "--ca-file", str(folder / "authority.pem"), "--timeout", "5", *more)
    outcome = await xmppd("doctor", domain, *words, cwd=folder)
    assert outcome.out.startswith("{"), outcome.err
    return outcome.status, {row["id"]: (row["result"], row["found"]) for row in json.loads(outcome.out)["rows"]}


async def test_a_domain_is_well(two: tuple[Domain, Domain], dns: DnsServer, tmp_path: Path) -> None:
    montague, capulet = two
    status, rows = await examined(montague.name, dns, tmp_path, "--config", str(capulet.server.config))
    assert status == 0, rows
    skipped = {name for name, (result, _) in rows.items() if result == "skip"}
    assert skipped == {"srv-server-direct", "direct-tls"}, "there is no such record"
    assert rows["addresses"][1] == "host.montague.test: IPv4"
    assert rows["starttls"][1] == f"127.0.0.1:{montague.port} TLSv1.3"
    assert "dialback" in rows["proofs"][1] and "EXTERNAL is for who shows a certificate" in rows["proofs"][1]
    assert rows["echo"][1].startswith("montague.test has answered within ")
    shown = await xmppd(
        "doctor", montague.name, "--resolver", dns.address, "--ca-file", "authority.pem", cwd=tmp_path, COLUMNS="200"
    )
    assert shown.status == 0 and "not tried: no configuration" in shown.out, shown
    assert "montague.test can be reached by other servers" in shown.out


async def test_a_domain_is_not_well(two: tuple[Domain, Domain], dns: DnsServer, tmp_path: Path) -> None:
    """A dead address, a dead port, direct TLS at a port that has none, somebody else's certificate."""
    montague, capulet = two
    dead = free_port()
    dns.records["_xmpps-server._tcp.montague.test"] = [f"SRV 0 5 {montague.port} host.montague.test."]
    dns.records["_xmpp-server._tcp.montague.test"] = [
        f"SRV 0 5 {montague.port} host.montague.test.",
        f"SRV 9 5 {dead} host.montague.test.",
        "SRV 9 5 5269 none.montague.test.",
    ]
    status, rows = await examined(montague.name, dns, tmp_path, "--config", str(montague.server.config))
    assert status == 5
    failed = {name: found for name, (result, found) in rows.items() if result == "fail"}
    assert set(failed) == {"addresses", "starttls", "direct-tls"}, rows
    assert failed["addresses"] == "none.montague.test: no address"
    assert f"127.0.0.1:{dead} (STARTTLS)" in failed["starttls"]
    assert rows["echo"] == ("skip", "not tried: montague.test is of this server")
    dns.records["_xmpp-server._tcp.rooms.capulet.test"] = [f"SRV 0 5 {montague.port} host.capulet.test."]
    status, rows = await examined(capulet.rooms, dns, tmp_path, "--config", str(montague.server.config))
    assert status == 3 and "host-unknown" in rows["starttls"][1]
    assert rows["echo"][0] == "fail" and "cannot be reached" in rows["echo"][1]


async def test_a_domain_that_is_not_there(dns: DnsServer, tmp_path: Path) -> None:
    Authority(tmp_path)
    status, rows = await examined("nowhere.test", dns, tmp_path)
    assert status == 3 and rows["addresses"] == ("fail", "nowhere.test: no address")
    outcome = await xmppd("doctor", "a b", cwd=tmp_path)
    assert outcome.status == 2 and "or a domain" in outcome.err


async def test_a_certificate_that_is_not_believed(dns: DnsServer, tmp_path: Path) -> None:
    """Of another name, and nearly at its end; of nobody who is trusted."""
    authority = Authority(tmp_path)
    sick = Domain(tmp_path / "sick", "sick.test", "romeo", dns, authority)
    authority.certificate(dns=["well.test"], days=(-1, 3)).write(tmp_path, "sick.test")
    await sick.start()
    try:
        status, rows = await examined(sick.name, dns, tmp_path)
        assert status == 5 and rows["certificate-chain"][0] == "pass"
        assert rows["certificate-names"] == ("fail", f"127.0.0.1:{sick.port}: names well.test, not sick.test")
        assert rows["certificate-expiry"][0] == "fail" and "in 2 days" in rows["certificate-expiry"][1]
        (tmp_path / "others").mkdir()
        others = Authority(tmp_path / "others")
        status, rows = await examined(sick.name, dns, tmp_path, "--ca-file", str(others.file))
        assert rows["certificate-chain"][0] == "fail"
    finally:
        sick.server.kill()
