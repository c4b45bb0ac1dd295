"""The numbers of a running server (docs/howto/metrics.md)."""

from __future__ import annotations

import re
from pathlib import Path

from tests.harness import Client, Harness, condition
from xmppd.errors import StorageUnavailable
from xmppd.observe.metrics import SECONDS, Histogram
from xmppd.server.exposition import Exposition

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "metrics.md"


def values(server: Harness) -> dict[str, float]:
    """By name and labels, as they stand in the text."""
    found = {}
    for line in Exposition(server.server).text().decode().splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[name] = float(value)
    return found


def say(client: Client, text: str) -> None:
    client.send(f"<message to='juliet@localhost' type='chat' id='{text}'><body>{text}</body></message>")


async def test_stanzas_and_sessions_are_counted(server: Harness) -> None:
    romeo = await server.login("romeo")
    juliet = await server.login("juliet", presence=True)
    before = values(server)
    say(romeo, "one")
    say(romeo, "two")
    assert len(await juliet.receive_all()) == 2
    after = values(server)
    grown = {name: after[name] - before.get(name, 0) for name in after}
    assert grown['xmppd_stanzas_received_total{kind="message"}'] == 2
    assert grown['xmppd_stanzas_received_total{kind="iq"}'] == 1, "juliet answered the ping behind them"
    assert grown["xmppd_stanzas_delivered_total"] == 2
    assert grown["xmppd_messages_stored_total"] == 4, "one entry for each side"
    assert grown["xmppd_store_commits_total"] == grown["xmppd_store_commit_seconds_count"] >= 1
    assert after['xmppd_sessions{state="attached"}'] == 2
    assert after['xmppd_sign_ins_total{result="ok"}'] == 2
    juliet.send("</stream:stream>")
    await server.quiet()
    assert values(server)["xmppd_stanzas_delivered_total"] >= after["xmppd_stanzas_delivered_total"], "never falls"


async def test_a_session_that_waits_and_is_resumed(server: Harness) -> None:
    juliet = await server.login("juliet")
    juliet.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
    id = (await juliet.receive()).get("id")
    juliet.cut()
    await server.quiet()
    assert values(server)['xmppd_sessions{state="detached"}'] == 1
    again = server.connect()
    await again.sign_in("juliet")
    again.send(f"<resume xmlns='urn:xmpp:sm:3' previd='{id}' h='0'/>")
    assert (await again.receive()).tag == "{urn:xmpp:sm:3}resumed"
    found = values(server)
    assert found['xmppd_sessions{state="detached"}'] == 0
    assert found["xmppd_sessions_resumed_total"] == 1


async def test_a_store_that_fails_is_seen_and_that_it_works_again(server: Harness) -> None:
    """T44 to T46 as the monitoring sees them: nothing is acknowledged or delivered meanwhile."""
    romeo = await server.login("romeo")
    juliet = await server.login("juliet", presence=True)
    server.backend.fail(StorageUnavailable("disk full"), times=40)
    say(romeo, "in flight")
    await server.quiet()
    say(romeo, "waiting")
    await server.advance(12)
    found = values(server)
    assert found["xmppd_store_available"] == 0
    assert found["xmppd_store_outage_seconds"] >= 10
    assert found["xmppd_store_commits_failed_total"] > 1
    assert found["xmppd_store_writes_refused_total"] == 1
    assert found["xmppd_store_queued_rows"] > 0
    assert condition(await romeo.receive()) == "resource-constraint"
    await juliet.silence()
    await server.advance(120)
    found = values(server)
    assert (found["xmppd_store_available"], found["xmppd_store_outage_seconds"]) == (1, 0)
    assert found["xmppd_store_queued_rows"] == 0
    assert len(await juliet.receive_all()) == 1


def test_a_histogram_counts_up_to_and_with_its_bounds() -> None:
    found = Histogram()
    for seconds in (0.0, SECONDS[0], 0.03, 100.0):
        found.observe(seconds)
    assert (found.counts[0], found.counts[-1], sum(found.counts)) == (2, 1, 4)
    assert found.sum == SECONDS[0] + 0.03 + 100.0


async def test_over_http(server: Harness) -> None:
    answer = await server.http("GET", "/metrics", paths=("/metrics",))
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.body.endswith(b"# EOF\n")
    assert b"process_resident_memory_bytes" in answer.body
    others = [
        await server.http("GET", "/", paths=("/metrics",)),
        await server.http("GET", "/healthz", paths=("/metrics",)),
        await server.http("POST", "/metrics", b"x", paths=("/metrics",)),
        await server.http("GET", "/metrics"),
        await server.http("GET", "/metrics", paths=("/",)),
        await server.http("GET", "/metrics", paths=("/healthz", "//")),
    ]
    assert [each.status for each in others] == [404, 404, 405, 404, 404, 404], "what is not for everybody is named"


async def test_all_that_is_for_everybody(server: Harness) -> None:
    assert (await server.http("GET", "/healthz", paths=("/",))).status == 200


async def test_health_is_that_of_the_store_and_of_the_hosts(server: Harness) -> None:
    async def health() -> tuple[int, bytes]:
        answer = await server.http("GET", "/healthz")
        return answer.status, answer.body

    assert await health() == (200, b"ready\n")
    romeo = await server.login("romeo")
    await server.register("juliet")
    server.backend.fail(StorageUnavailable("disk full"), times=40)
    say(romeo, "in flight")
    await server.quiet()
    await server.advance(12)
    failing = await health()
    await server.advance(120)
    assert failing == (503, b"not ready\n")
    assert await health() == (200, b"ready\n")
    server.host.started = False
    assert (await health())[0] == 503
    server.host.started = True


async def test_the_manual_lists_them_all(server: Harness) -> None:
    listed = dict(re.findall(r"^\| `(xmppd_\w+)` \| (.*) \|$", PAGE.read_text("utf-8"), re.MULTILINE))
    families = Exposition(server.server).families()
    assert listed == {name: each.documentation for name, each in families.items() if name.startswith("xmppd_")}
