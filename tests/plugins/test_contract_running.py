"""The contract of plugins: how they are started, asked and stopped."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.harness import Harness, condition
from tests.plugins.contract import HEAD, PLAIN, Serve, folder, journal, serve
from xmppd.errors import LocalError
from xmppd.server import server as server_module

__all__ = ["folder", "serve"]

# ---- started and stopped

LIFE = """
class A(Plugin[NoConfig]):
    standard = False
    {0}
    async def start(self) -> None:
        log.info("start " + self.name)
    async def stop(self) -> None:
        log.info("stop " + self.name)
"""


async def test_providers_start_first_and_stop_last(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "journal")
    uses = {"alpha": "uses = (Service('thing'),)", "zeta": "provides = (Service('thing'),)"}
    for name, line in uses.items():
        (folder / f"{name}.py").write_text(HEAD + LIFE.format(line), "utf-8")
    harness = await Harness(plugins={"alpha": {}, "zeta": {}}, more=f"plugin_path: ['{folder}']").start()
    await harness.stop()
    assert journal(caplog) == ["start zeta", "start alpha", "stop alpha", "stop zeta"]


async def test_a_plugin_that_does_not_stop_holds_no_other(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "journal")
    (folder / "one.py").write_text(HEAD + LIFE.format(""), "utf-8")
    broken = LIFE.format("").replace('log.info("stop " + self.name)', "raise RuntimeError('stuck')")
    (folder / "two.py").write_text(HEAD + broken, "utf-8")
    harness = await Harness(plugins={"one": {}, "two": {}}, more=f"plugin_path: ['{folder}']").start()
    await harness.stop()
    assert journal(caplog)[-1] == "stop one"
    assert "plugin two of localhost: failed at the end" in caplog.text


async def test_timers_end_at_stop(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "journal")
    source = """
    async def start(self) -> None:
        self.every(10, lambda: log.info("tick"), "clock")
"""
    (folder / "busy.py").write_text(HEAD + PLAIN + source, "utf-8")
    harness = await Harness(plugins={"busy": {}}, more=f"plugin_path: ['{folder}']").start()
    await harness.advance(25)
    assert journal(caplog) == ["tick", "tick"]
    await harness.stop()
    while (due := harness.clock.due(harness.clock.monotonic() + 60)) is not None:
        due()
    assert journal(caplog) == ["tick", "tick"]


async def test_work_ends_at_stop(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "STOP_WITHIN", 0.01)
    caplog.set_level(logging.INFO, "journal")
    source = """
    async def start(self) -> None:
        self.spawn(self.wait(), "wait")

    async def wait(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            log.info("ended")
"""
    (folder / "busy.py").write_text(HEAD + PLAIN + source, "utf-8")
    harness = await Harness(plugins={"busy": {}}, more=f"plugin_path: ['{folder}']").start()
    await harness.stop()
    assert journal(caplog) == ["ended"]
    assert not harness.host.background._tasks


async def test_work_that_fails_is_logged_with_its_name(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    harness = await serve(
        hasty="""
        class A(Plugin[NoConfig]):
            standard = False
            async def start(self) -> None:
                self.spawn(self.fail(), "work")
            async def fail(self) -> None:
                raise RuntimeError("no")
        """
    )
    await harness.quiet()
    assert "hasty.work failed" in caplog.text


# ---- asked

MESSAGE = "<message id='m' to='juliet@localhost/b' type='chat'><body>hi</body></message>"


@pytest.mark.parametrize("hook", ["OUTBOUND", "INBOUND"])
@pytest.mark.parametrize("turn", [0, 63])  # the second one is timed, on another way through the chain
async def test_a_crash_in_a_chain_refuses_the_stanza(
    serve: Serve, caplog: pytest.LogCaptureFixture, hook: str, turn: int
) -> None:
    harness = await serve(
        crash=f"""
        class A(Plugin[NoConfig]):
            standard = False
            def setup(self) -> None:
                self.notes = self.host.storage.map("notes", Note)
            @on({hook}, Stage.GUARD, kinds=(Kind.MESSAGE,))
            def keep(self, event: Outbound) -> None:
                event.write(self.notes.put(event.owner.bare, "", Note("seen")))
            @on({hook}, Stage.ARCHIVE, kinds=(Kind.MESSAGE,))
            def look(self, event: Outbound) -> None:
                raise RuntimeError("no")
        """
    )
    romeo = await harness.login("romeo")
    juliet = await harness.login("juliet", resource="b", presence=True)
    # INBOUND is the second chain that a message passes.
    harness.host._turn = turn - (hook == "INBOUND")
    romeo.send(MESSAGE)
    answer = await romeo.receive()
    assert (answer.get("id"), condition(answer)) == ("m", "internal-server-error")
    assert "RuntimeError: no" in caplog.text
    assert b"RuntimeError" not in bytes(romeo.link.written), "nothing internal goes over the wire"
    await juliet.silence()
    notes = harness.host.plugins["crash"].notes
    assert await notes.read_all("romeo@localhost") == await notes.read_all("juliet@localhost") == {}


async def test_a_crash_in_an_iq_handler_is_an_error(serve: Serve) -> None:
    harness = await serve(
        crash="""
        class A(Plugin[NoConfig]):
            standard = False
            @iq("get", "urn:test", "who")
            async def answer(self, request: Request) -> None:
                raise RuntimeError("no")
        """
    )
    romeo = await harness.login("romeo")
    assert condition(await romeo.iq("<who xmlns='urn:test'/>")) == "internal-server-error"
    assert (await romeo.iq("<ping xmlns='urn:xmpp:ping'/>", to="localhost")).get("type") == "result"


async def test_a_crash_in_a_notification_is_logged_and_the_next_one_runs(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "journal")
    harness = await serve(
        first="""
        class A(Plugin[NoConfig]):
            standard = False
            @on(ARRIVED, kinds=(Kind.MESSAGE,))
            def look(self, event: Inbound) -> None:
                raise RuntimeError("no")
        """,
        second="""
        class A(Plugin[NoConfig]):
            standard = False
            @on(ARRIVED, kinds=(Kind.MESSAGE,))
            def look(self, event: Inbound) -> None:
                log.info("second")
        """,
    )
    romeo = await harness.login("romeo")
    juliet = await harness.login("juliet", resource="b", presence=True)
    romeo.send(MESSAGE)
    assert (await juliet.receive()).get("id") == "m"
    assert journal(caplog) == ["second"]
    assert "first.look failed" in caplog.text


async def test_a_handler_runs_for_the_types_and_tags_that_it_names(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """A child that another handler of the chain adds does not count."""
    caplog.set_level(logging.INFO, "journal")
    harness = await serve(
        narrow="""
        class A(Plugin[NoConfig]):
            standard = False
            @on(OUTBOUND, Stage.STAMP, kinds=(Kind.MESSAGE,), types=("chat",))
            def chat(self, event: Outbound) -> None:
                log.info("chat")
                event.stanza = event.stanza.with_child(b"<mark xmlns='urn:test'/>", "urn:test|mark")

            @on(OUTBOUND, Stage.ARCHIVE, kinds=(Kind.MESSAGE,), tags=("urn:test|mark", "urn:test|other"))
            def marked(self, event: Outbound) -> None:
                log.info("marked " + event.stanza.type)

            @on(SENT, kinds=(Kind.MESSAGE,), tags=("urn:test|mark",))
            def sent(self, event: Outbound) -> None:
                log.info("sent " + event.stanza.type)
        """,
    )
    romeo = await harness.login("romeo")
    await harness.login("juliet", resource="b", presence=True)
    to = "to='juliet@localhost'"
    for message, expected in (
        (f"<message {to} type='chat'><body>1</body></message>", ["chat", "sent chat"]),
        (f"<message {to}><body>1</body></message>", []),
        (f"<message {to}><body>1</body><other xmlns='urn:test'/></message>", ["marked normal"]),
        (f"<message {to}><mark xmlns='urn:test'/></message>", ["marked normal", "sent normal"]),
        (f"<presence {to}><mark xmlns='urn:test'/></presence>", []),
        (f"<message {to} type='chat'><body>1</body></message>", ["chat", "sent chat"]),
    ):
        caplog.clear()
        romeo.send(message)
        await harness.quiet()
        assert journal(caplog) == expected, message


NOTHING_NOTED = ('if_stored_in="notes"', ["nurse@localhost"])
NAMED = ("recipients_of=_named", ["nurse@localhost"])
ALL = ("recipients_of=_all", ["juliet@localhost", "nurse@localhost", "romeo@localhost"])
BROKEN = ("recipients_of=_broken", ["juliet@localhost", "nurse@localhost", "romeo@localhost"])


@pytest.mark.parametrize(("narrowed", "asked"), [NOTHING_NOTED, NAMED, ALL, BROKEN])
async def test_what_goes_to_many_passes_over_accounts_that_have_nothing(
    serve: Serve, caplog: pytest.LogCaptureFixture, narrowed: str, asked: list[str]
) -> None:
    caplog.set_level(logging.INFO, "journal")
    harness = await serve(
        guard="""
        class A(Plugin[NoConfig]):
            standard = False
            def setup(self) -> None:
                self.notes = self.host.storage.map("notes", Note, cached=True)
            def _named(self, stanza: Stanza) -> list[str]:
                return ["nurse@localhost"]
            def _all(self, stanza: Stanza) -> None: ...
            def _broken(self, stanza: Stanza) -> None:
                raise RuntimeError("broken")
            @on(INBOUND, Stage.BLOCK, kinds=(Kind.PRESENCE,), types=("",), NARROWED)
            def look(self, event: Inbound) -> Verdict | None:
                log.info(event.owner.bare)
                return Verdict.DROP if self.notes.get(event.owner.bare) else None
        """.replace("NARROWED", narrowed)
    )
    notes = harness.host.plugins["guard"].notes
    romeo = await harness.login("romeo", resource="a", presence=True)
    contacts = [await harness.login(name, resource="b", presence=True) for name in ("juliet", "nurse")]
    for contact in contacts:
        contact.send("<presence type='subscribe' to='romeo@localhost'/>")
        await harness.quiet()
        romeo.send(f"<presence type='subscribed' to='{contact.bare}'/>")
        await harness.quiet()
    await harness.host.storage.commit([notes.put("nurse@localhost", "", notes.record("keep out"))])
    for client in (romeo, *contacts):
        await client.receive_all()
    caplog.clear()
    romeo.send("<presence><show>away</show></presence>")
    assert [len(await contact.receive_all()) for contact in contacts] == [1, 0]
    assert sorted(journal(caplog)) == asked


async def test_if_stored_in_names_a_cached_map(serve: Serve) -> None:
    with pytest.raises(LocalError, match=r"there is no cached map 'notes'"):
        await serve(
            odd="""
            class A(Plugin[NoConfig]):
                standard = False
                def setup(self) -> None:
                    self.notes = self.host.storage.map("notes", Note)
                @on(INBOUND, if_stored_in="notes")
                def look(self, event: Inbound) -> None: ...
            """
        )


async def test_stages_are_the_order_and_a_verdict_ends_the_chain(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "journal")
    handler = """
    class A(Plugin[NoConfig]):
        standard = False
        @on(OUTBOUND, Stage.{0}, kinds=(Kind.MESSAGE,))
        def look(self, event: Outbound) -> Verdict | None:
            log.info(self.name)
            return {1}
    """
    harness = await serve(
        a=handler.format("ARCHIVE", "None"),
        b=handler.format("STAMP", "Verdict.DROP"),
        c=handler.format("GUARD", "None"),
    )
    romeo = await harness.login("romeo")
    juliet = await harness.login("juliet", resource="b", presence=True)
    romeo.send(MESSAGE)
    await juliet.silence()
    await romeo.silence()
    assert journal(caplog) == ["c", "b"]


async def test_what_a_chain_writes_is_there_before_the_stanza_is_seen(serve: Serve) -> None:
    harness = await serve(
        keep="""
        class A(Plugin[NoConfig]):
            standard = False
            def setup(self) -> None:
                self.notes = self.host.storage.map("notes", Note, cached=True)
            @on(INBOUND, Stage.ARCHIVE, kinds=(Kind.MESSAGE,))
            def look(self, event: Inbound) -> None:
                event.write(self.notes.put(event.owner.bare, "", Note("seen")))
        """
    )
    romeo = await harness.login("romeo")
    juliet = await harness.login("juliet", resource="b", presence=True)
    notes = harness.host.plugins["keep"].notes
    harness.backend.hold()
    romeo.send(MESSAGE)
    await juliet.silence()
    assert not notes.get("juliet@localhost")
    harness.backend.release()
    assert (await juliet.receive()).get("id") == "m"
    assert notes.get("juliet@localhost")[""].text == "seen"


async def test_one_run_in_64_is_timed_by_handler(serve: Serve) -> None:
    harness = await serve(
        seen="""
        class A(Plugin[NoConfig]):
            standard = False
            @on(OUTBOUND, kinds=(Kind.MESSAGE,))
            def look(self, event: Outbound) -> None: ...
        """
    )
    romeo = await harness.login("romeo")
    # Each message to nobody passes one chain only: OUTBOUND.
    romeo.send("<message to='conference.localhost'><body>hi</body></message>" * 640)
    await harness.quiet()
    samples, seconds = harness.host.times.seconds["seen.look"]
    assert samples == 10
    assert seconds >= 0.0
