"""The handlers of a host's plugins: registered once, looked up by shape, asked in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from types import SimpleNamespace
from typing import Any

import pytest

import xmppd.hosts.handlers as module
from tests.core.parts import Core
from xmppd.contracts.internal import Concerned
from xmppd.contracts.routing import ARRIVED, INBOUND, OUTBOUND, Inbound, Outbound
from xmppd.errors import (
    Forbidden,
    InternalServerError,
    LocalError,
    ServiceUnavailable,
    StorageUnavailable,
)
from xmppd.hooks import Collect, Notify, Stage, Verdict, on
from xmppd.plugin import NoConfig, Plugin, Request, To, http, iq, nonza
from xmppd.stanza import Stanza, parse_stanza
from xmppd.xml import E, Element

TOLD = Notify[list[str]]("told-in-test")
PLAIN = Notify[list[str]]("told-plainly", plain=True)
GIVEN = Collect[str, str]("given-in-test")
NOW = Collect[str, str]("given-now", plain=True)

CHAT = parse_stanza(b"<message type='chat' to='juliet@localhost'><body>hi</body></message>")
GROUP = parse_stanza(b"<message type='groupchat' to='juliet@localhost'><body>hi</body></message>")


@pytest.fixture
async def core() -> AsyncIterator[Core]:
    core = await Core().open()
    yield core
    await core.close()


Add = Callable[[type[Plugin[Any]]], Any]


@pytest.fixture
def add(core: Core) -> Add:
    def added(cls: type[Plugin[Any]]) -> Any:
        plugin = cls(core.host, NoConfig())  # type: ignore[arg-type]
        core.host.add(cls.__name__.lower(), plugin)
        return plugin

    return added


def event(stanza: Stanza = CHAT) -> Any:
    return SimpleNamespace(stanza=stanza, seen=[])


# ---- registration


class TestRefused:
    """What a plugin may not declare."""

    def test_a_coroutine_on_the_hot_path(self, add: Add) -> None:
        class Slow(Plugin[NoConfig]):
            @on(OUTBOUND)  # type: ignore[arg-type]
            async def look(self, event: Outbound) -> None:
                """Takes its time."""

        with pytest.raises(LocalError, match=r"slow\.look.*plain functions only"):
            add(Slow)

    def test_a_narrowing_of_what_is_about_no_stanza(self, add: Add) -> None:
        class Narrow(Plugin[NoConfig]):
            @on(TOLD, types={"chat"})
            def look(self, event: list[str]) -> None:
                """Narrowed in vain."""

        with pytest.raises(LocalError, match="is about no stanza"):
            add(Narrow)

    def test_a_map_that_is_not_there(self, add: Add) -> None:
        class Lost(Plugin[NoConfig]):
            @on(INBOUND, if_stored_in="nothing-of-that-name")
            def look(self, event: Inbound) -> None:
                """Nobody has such a record."""

        with pytest.raises(LocalError):
            add(Lost)

    def test_a_plain_handler_of_iqs(self, add: Add) -> None:
        class Plain(Plugin[NoConfig]):
            @iq("get", "urn:test", "x")  # type: ignore[type-var]
            def answer(self, request: Request) -> None:
                """Not awaitable."""

        with pytest.raises(LocalError, match="async function"):
            add(Plain)

    def test_two_answers_to_one_payload(self, add: Add) -> None:
        class One(Plugin[NoConfig]):
            @iq("get", "urn:test", "x", To.HOST)
            async def answer(self, request: Request) -> None:
                """The first."""

        class Two(One):
            pass

        add(One)
        with pytest.raises(LocalError, match=r"two\.answer and one\.answer both answer get urn:test\|x"):
            add(Two)

    def test_two_handlers_of_a_nonza(self, add: Add) -> None:
        class One(Plugin[NoConfig]):
            @nonza("urn:test", "x")
            def look(self, session: Any, element: Any) -> None:
                """The first."""

        class Two(One):
            pass

        add(One)
        with pytest.raises(LocalError, match="both handle"):
            add(Two)

    def test_a_plain_handler_of_http(self, add: Add) -> None:
        class Plain(Plugin[NoConfig]):
            @http("GET", "/x")  # type: ignore[type-var]
            def answer(self, request: Any) -> None:
                """Not awaitable."""

        with pytest.raises(LocalError, match=r"plain\.answer: a handler of HTTP requests is an async function"):
            add(Plain)

    def test_two_answers_at_one_path(self, add: Add) -> None:
        class One(Plugin[NoConfig]):
            @http("GET", "/x")
            async def answer(self, request: Any) -> Any:
                """The first."""

        class Two(One):
            pass

        add(One)
        with pytest.raises(LocalError, match="/x"):
            add(Two)


# ---- chains


class Guards(Plugin[NoConfig]):
    """Handlers in another order than their stages."""

    @on(OUTBOUND, Stage.ARCHIVE)
    def archive(self, event: Any) -> None:
        event.seen.append("archive")

    @on(OUTBOUND, Stage.GUARD, types={"groupchat"})
    def guard_rooms(self, event: Any) -> Verdict:
        event.seen.append("guard")
        return Verdict.DROP

    @on(OUTBOUND, Stage.BLOCK)
    def block(self, event: Any) -> None:
        event.seen.append("block")


def test_a_chain_runs_by_stage_and_by_what_the_stanza_is(core: Core, add: Add) -> None:
    add(Guards)
    host, seen = core.host, event()
    assert host.run(host.chain(OUTBOUND, CHAT), seen) is None
    assert seen.seen == ["block", "archive"]
    seen = event(GROUP)
    assert host.run(host.chain(OUTBOUND, GROUP), seen) is Verdict.DROP
    assert seen.seen == ["guard"], "a verdict ends it"
    assert host.chain(OUTBOUND, CHAT) is host.chain(OUTBOUND, CHAT), "looked up once for a shape"


def test_chains_are_built_again_after_a_plugin_came(core: Core, add: Add) -> None:
    assert core.host.chain(OUTBOUND, CHAT) == core.host.handlers(OUTBOUND) == ()
    add(Guards)
    assert len(core.host.chain(OUTBOUND, CHAT)) == 2 and len(core.host.handlers(OUTBOUND)) == 3


def test_remembered_chains_have_a_bound(core: Core, add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes are made of what clients send."""
    monkeypatch.setattr(module, "CHAINS", 3)
    add(Guards)
    for type in ("chat", "normal", "headline", "error", "groupchat"):
        stanza = parse_stanza(f"<message type='{type}'><body>x</body></message>".encode())
        core.host.chain(OUTBOUND, stanza)
        core.host.concerned(stanza)
    handlers: Any = core.host.chain.__self__  # type: ignore[attr-defined]
    assert len(handlers._chains) <= 3 and len(handlers._narrowings) <= 3


@pytest.mark.parametrize("times", [1, module.SAMPLE])
def test_a_handler_that_crashes_refuses_the_stanza(
    core: Core, add: Add, times: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Timed or not."""

    class Broken(Plugin[NoConfig]):
        @on(OUTBOUND)
        def look(self, event: Any) -> None:
            if event.stanza is GROUP:
                raise Forbidden()
            raise RuntimeError("broken")

    add(Broken)
    host = core.host
    chain = host.chain(OUTBOUND, CHAT)
    for _ in range(times):
        with pytest.raises(InternalServerError):
            host.run(chain, event())
    assert "broken.look crashed" in caplog.text
    for _ in range(times):
        with pytest.raises(Forbidden):
            host.run(chain, event(GROUP))


def test_one_in_so_many_runs_is_timed(core: Core, add: Add) -> None:
    add(Guards)
    chain = core.host.chain(OUTBOUND, CHAT)
    for _ in range(2 * module.SAMPLE):
        core.host.run(chain, event())
    assert core.host.times.seconds["guards.block"][0] == 2
    for _ in range(module.SAMPLE):
        core.host.run(core.host.chain(OUTBOUND, GROUP), event(GROUP))
    assert core.host.times.seconds["guards.guard_rooms"][0] == 1


# ---- whom a stanza concerns


class Stored(Plugin[NoConfig]):
    def setup(self) -> None:
        self.records = self.host.storage.map("test-blocks", int, cached=True)

    @on(INBOUND, if_stored_in="test-blocks")
    def look(self, event: Inbound) -> None:
        """Has to do with accounts that have a record."""


class Asked(Plugin[NoConfig]):
    names: Collection[str] | None = ("juliet@localhost",)

    def whom(self, stanza: Stanza) -> Collection[str] | None:
        if self.names == ("broken",):
            raise RuntimeError("broken")
        return self.names

    @on(ARRIVED, recipients_of=whom)
    def look(self, event: Inbound) -> None:
        """Has to do with some accounts."""


def test_nobody_is_concerned_without_handlers(core: Core) -> None:
    assert core.host.concerned(CHAT) == Concerned((), set())


def test_who_has_a_record_and_who_is_named_is_concerned(core: Core, add: Add) -> None:
    add(Stored)
    asked = add(Asked)
    found = core.host.concerned(CHAT)
    assert found is not None and set(found.names) == {"juliet@localhost"} and len(found.maps) == 1
    asked.names = None
    assert core.host.concerned(CHAT) is None, "all"
    asked.names = ("broken",)
    assert core.host.concerned(CHAT) is None, "not known: all"


def test_a_handler_that_says_nothing_concerns_all(core: Core, add: Add) -> None:
    class Everybody(Plugin[NoConfig]):
        @on(INBOUND, types={"chat"})
        def look(self, event: Inbound) -> None:
            """Of every account."""

    add(Everybody)
    assert core.host.concerned(CHAT) is None
    assert core.host.concerned(GROUP) == Concerned((), set())


# ---- notify and collect


class Ears(Plugin[NoConfig]):
    @on(TOLD)
    def broken(self, event: list[str]) -> None:
        raise RuntimeError("broken")

    @on(TOLD)
    async def coroutine(self, event: list[str]) -> None:
        await asyncio.sleep(0)
        event.append("coroutine")

    @on(TOLD)
    async def store(self, event: list[str]) -> None:
        raise StorageUnavailable("away")

    @on(TOLD, Stage.ARCHIVE)
    def last(self, event: list[str]) -> None:
        event.append("last")


async def test_tell_goes_on_behind_a_handler_that_crashes(core: Core, add: Add) -> None:
    add(Ears)
    heard: list[str] = []
    core.host.tell(TOLD, heard)
    assert heard == ["last"]
    await core.idle()
    assert heard == ["last", "coroutine"]
    core.host.tell(PLAIN, heard)
    assert heard == ["last", "coroutine"]


async def test_tell_and_wait_waits_and_told_says_what_failed(
    core: Core, add: Add, caplog: pytest.LogCaptureFixture
) -> None:
    add(Ears)
    heard: list[str] = []
    with caplog.at_level(logging.WARNING):
        await core.host.tell_and_wait(TOLD, heard)
    assert heard == ["coroutine", "last"] and "left undone after told-in-test" in caplog.text
    errors = await core.host.tell_and_collect_errors(TOLD, heard)
    assert [type(error) for error in errors] == [RuntimeError, StorageUnavailable]


class Gives(Plugin[NoConfig]):
    @on(GIVEN)
    def plain(self, event: str) -> list[str]:
        return [event, "plain"]

    @on(GIVEN)
    def awaitable(self, event: str) -> Awaitable[list[str]]:
        async def later() -> list[str]:
            return ["later"]

        return later()

    @on(NOW)
    def now(self, event: str) -> list[str]:
        if event == "broken":
            raise Forbidden()
        return [event]


async def test_collect_and_gather(core: Core, add: Add) -> None:
    add(Gives)
    assert await core.host.collect(GIVEN, "x") == ["later", "x", "plain"]
    assert core.host.gather(NOW, "x") == ["x"]
    with pytest.raises(Forbidden):
        core.host.gather(NOW, "broken")


# ---- IQs and nonzas


class Answers(Plugin[NoConfig]):
    @iq("get", "urn:test", "own", To.ACCOUNT)
    async def own(self, request: Request) -> Element:
        return E("own", "urn:test")

    @iq("set", "urn:test", "host", To.HOST)
    async def host_itself(self, request: Request) -> None:
        """An empty result."""

    @nonza("urn:test", "x", state="signed-in")
    def look(self, stream: Any, element: Any) -> str:
        return "looked"


def request(data: bytes) -> Any:
    return SimpleNamespace(stanza=parse_stanza(data))


async def test_an_iq_goes_to_the_handler_of_its_payload(core: Core, add: Add) -> None:
    add(Answers)
    own = request(b"<iq type='get' id='1'><own xmlns='urn:test'/></iq>")
    answer = await core.host.answer(own, To.ACCOUNT)
    assert isinstance(answer, Element) and answer.tag == "{urn:test}own"
    assert await core.host.answer(own, To.SELF) is not None, "who answers for any account answers for the own one"
    with pytest.raises(ServiceUnavailable):
        await core.host.answer(own, To.HOST)
    assert await core.host.answer(request(b"<iq type='set' id='1'><host xmlns='urn:test'/></iq>"), To.HOST) is None


def test_whether_there_is_an_answer(core: Core, add: Add) -> None:
    add(Answers)
    host = core.host
    assert host.answers(parse_stanza(b"<iq type='get' id='1'><own xmlns='urn:test'/></iq>"), To.ACCOUNT)
    assert not host.answers(parse_stanza(b"<iq type='get' id='1'><own xmlns='urn:test'/></iq>"), To.HOST)
    assert not host.answers(parse_stanza(b"<iq type='result' id='1'/>"), To.ACCOUNT)
    assert not host.answers(CHAT, To.ACCOUNT)


def test_a_nonza_by_the_state_of_the_stream(core: Core, add: Add) -> None:
    add(Answers)
    handler = core.host.nonza_handler("urn:test|x", "signed-in")
    assert handler is not None and handler(None, None) == "looked"
    assert core.host.nonza_handler("urn:test|x", "bound") is None
