"""The registry of operations: what a method declares, what it is given, who may run it, and how it fails."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import pytest

from tests.harness import Harness
from xmppd.admin.control import ControlClient, ControlServer
from xmppd.admin.registry import Operations
from xmppd.config import Duration
from xmppd.contracts.admin import (
    AccountJid,
    Argument,
    Caller,
    Code,
    DeviceJid,
    Domain,
    Note,
    OperationError,
    Page,
    Result,
    Scope,
    Secret,
    Text,
    operation,
)
from xmppd.errors import Conflict, ItemNotFound, LocalError, NotAllowed, ServiceUnavailable, StorageUnavailable
from xmppd.jid import JID

FIVE = Duration("5 minutes")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Painted(Result, frozen=True):
    jid: JID
    times: tuple[int, ...]


class Paint:
    """Every type of argument; what it was given last is in `given`."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}
        self.error: Exception | None = None

    @operation("paint.house", "Paint a house.")
    async def house(
        self,
        jid: Annotated[AccountJid, Argument("Whose.")],
        device: Annotated[DeviceJid, Argument("By what.")],
        key: Annotated[Secret, Argument("The key.")],
        colours: Annotated[tuple[Colour, ...], Argument("Which.")],
        number: Annotated[int, Argument("How many.")] = 1,
        wet: Annotated[bool, Argument("Still wet.")] = False,
        dry: Annotated[Duration, Argument("So long.")] = FIVE,
        far: Annotated[JID, Argument("Any address.")] = JID.parse("a@b"),  # noqa: B008
        text: Annotated[Text, Argument("What is written.")] = Text(),  # noqa: B008
    ) -> Painted:
        self.given = {name: value for name, value in locals().items() if name != "self"}
        return Painted(jid, (1, number))

    @operation("paint.fail", "Fail.")
    async def fail(self) -> Note:
        if self.error is not None:
            raise self.error
        return Note("no")

    @operation("paint.where", "Say where.")
    async def where(self, domain: Annotated[Domain, Argument("Where.")]) -> Note:
        return Note(str(domain))

    @operation("repaint", "Paint all.", scope=Scope.SERVER)
    async def everything(self) -> Note:
        return Note("all")


HOUSE = {"jid": "romeo@localhost", "device": "romeo@localhost/phone", "key": "k", "colours": ["red", "blue"]}


def made(*domains: str, live: bool = True) -> tuple[Operations, Paint]:
    operations, paint = Operations(domains or ("localhost",), live), Paint()
    for domain in domains or ("localhost",):
        operations.add(paint, domain)
    return operations, paint


async def refused(operations: Operations, name: str, given: dict[str, Any], **more: Any) -> tuple[Code, str]:
    with pytest.raises(OperationError) as caught:
        await operations.run(name, given, **more)
    return caught.value.code, str(caught.value)


async def test_arguments_are_typed() -> None:
    operations, paint = made()
    given = {"number": "7", "wet": "true", "dry": "1 h", "far": "x.example", "text": "a\nb"}
    await operations.run("paint.house", HOUSE | given)
    jid, device = JID.parse("romeo@localhost"), JID.parse("romeo@localhost/phone")
    assert paint.given == {
        "jid": jid, "device": device, "key": Secret("k"), "colours": (Colour.RED, Colour.BLUE), "number": 7,
        "wet": True, "dry": Duration("1 h"), "far": JID.parse("x.example"), "text": Text("a\nb"),
    }  # fmt: skip
    assert [type(paint.given[name]) for name in ("key", "dry", "text")] == [Secret, Duration, Text]
    await operations.run("paint.house", HOUSE | {"number": 3, "wet": True, "dry": 90})  # as JSON has it
    assert (paint.given["number"], paint.given["wet"], paint.given["dry"]) == (3, True, Duration(90))
    await operations.run("paint.house", HOUSE)
    assert (paint.given["number"], paint.given["wet"], paint.given["dry"]) == (1, False, FIVE)
    answer = await operations.answer("paint.house", HOUSE)
    assert answer.result == {"jid": "romeo@localhost", "times": (1, 1)}
    assert answer.text == "jid: romeo@localhost\ntimes: 1, 1"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"jid": "@"}, "@: "),
        ({"jid": "localhost"}, "an account looks like name@localhost"),
        ({"jid": "romeo@localhost/phone"}, "an account looks like name@localhost"),
        ({"jid": "romeo@elsewhere.example"}, "this server has accounts at localhost"),
        ({"jid": 1}, "jid: not a text"),
        ({"jid": ["romeo@localhost"]}, "jid: not a text"),
        ({"jid": None}, "jid is missing"),
        ({"device": "localhost"}, "an account looks like name@localhost"),
        ({"colours": []}, "one at least"),
        ({"colours": ["red"] * 201}, "200 at most"),
        ({"colours": ["green"]}, "green: colours is one of red, blue"),
        ({"number": "many"}, "a number is expected"),
        ({"number": "9" * 30}, "a number is expected"),
        ({"number": True}, "number: not a text"),
        ({"wet": "perhaps"}, "true or false"),
        ({"dry": "long"}, "long: "),
        ({"more": "x"}, "has no argument 'more'"),
        ({"x" * 1_000_000: "x"}, "has no argument 'xxx"),
        ({"jid": "x" * 1_000_000 + "@localhost"}, "jid: too long"),
        ({"key": "x" * 1_000_000}, "key: too long"),
        ({"colours": ["x" * 1_000_000]}, "colours: too long"),
        ({"number": "9" * 1_000_000}, "number: too long"),
        ({"dry": "9" * 1_000_000}, "dry: too long"),
        ({"text": "x" * 1_000_000}, "text: too long"),
        ({"text": "a\0b"}, "text: has control characters"),
        ({"text": "a\x1b[2Jb"}, "text: has control characters"),
        ({"text": "a\ufffe"}, "text: has control characters"),
    ],
)
async def test_wrong_arguments(wrong: dict[str, Any], said: str) -> None:
    operations, paint = made()
    code, text = await refused(operations, "paint.house", HOUSE | wrong)
    assert code is Code.INVALID and said in text and len(text) < 10_000
    assert not paint.given


async def test_what_is_unknown_is_repeated_in_part() -> None:
    operations, _ = made()
    for name, host in (("x" * 1_000_000, ""), ("paint.fail", "x" * 1_000_000), ("paint.fail", "a." * 500_000)):
        _, text = await refused(operations, name, {}, host=host)
        assert len(text) < 1000


class Wrong:
    """What a plugin may get wrong."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

    @operation("wrong.text", "Tell what cannot be sent.")
    async def text(self) -> Note:
        return Note("\udcff")

    @operation("wrong.type", "Tell what is no text.")
    async def type(self) -> Note:
        return Note(object())  # type: ignore[arg-type]

    @operation("wrong.error", "Fail with what cannot be sent.")
    async def error(self) -> Note:
        raise OperationError("no \udcff")

    @operation("wrong.end", "Do not end, whatever happens.")
    async def end(self) -> Note:
        self.begun.set()
        while not self.go_on.is_set():
            with suppress(asyncio.CancelledError):
                await self.go_on.wait()
        return Note("at last")


async def test_the_control_socket_outlives_what_plugins_get_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xmppd.admin.control.STOP_TIME", 0.05)
    operations, wrong = Operations(["localhost"]), Wrong()
    operations.add(wrong, "localhost")
    server = ControlServer(tmp_path / "socket", operations)
    await server.start()
    client = await ControlClient.connect(tmp_path / "socket")
    assert client is not None
    for name, said in (("text", "could not do it"), ("type", "could not do it"), ("error", "no ?")):
        with pytest.raises(OperationError) as caught:
            await client.answer(f"wrong.{name}", {})
        assert said in str(caught.value), "on the same connection"
    endless = asyncio.ensure_future(client.answer("wrong.end", {}))
    await wrong.begun.wait()
    await server.stop()
    assert server._connections, "it is left alone"
    wrong.go_on.set()
    with suppress(OperationError):
        await endless
    client.close()


async def test_an_address_twice_is_one(server: Harness) -> None:
    await server.register("romeo")
    await server.register("juliet")
    jids = ["romeo@localhost", "ROMEO@localhost", "juliet@localhost"]
    answer = await server.server.operations.answer("user.del", {"jids": jids, "wait": "0"})
    assert list(answer.result["jids"]) == ["romeo@localhost", "juliet@localhost"]
    assert not await server.server.accounts.exists(JID.parse("juliet@localhost"))


async def test_a_secret_is_in_no_message() -> None:
    operations, paint = made()
    await operations.run("paint.house", HOUSE | {"key": "verysecret"})
    assert "verysecret" not in repr(paint.given)
    assert "verysecret" not in (await refused(operations, "paint.house", HOUSE | {"key": ["verysecret"]}))[1]


async def test_which_host() -> None:
    """An argument tells, or the caller does; they must agree."""
    operations, _ = made("localhost", "other.example")
    assert (await operations.run("paint.where", {"domain": "other.example"})).text() == "other.example"
    assert (await refused(operations, "paint.where", {"domain": "x.example"}))[0] is Code.INVALID
    both = HOUSE | {"device": "romeo@other.example"}
    assert await refused(operations, "paint.house", both) == (
        Code.INVALID,
        "romeo@other.example: it is not at localhost",
    )
    assert (await refused(operations, "paint.house", HOUSE, host="other.example"))[0] is Code.INVALID
    assert "which host? paint.fail is for localhost, other.example" in (await refused(operations, "paint.fail", {}))[1]
    assert (await operations.run("paint.fail", {}, host="LOCALHOST")).text() == "no"


async def test_rights() -> None:
    """Administrators of a host run what is about that host, and nothing of the server."""
    operations, _ = made("localhost", "other.example")
    admin = Caller("admin", frozenset(("localhost",)))
    assert (await operations.run("paint.fail", {}, admin, "localhost")).text() == "no"
    for name, host in (("paint.fail", "other.example"), ("repaint", ""), ("ping", ""), ("operation.list", "localhost")):
        assert (await refused(operations, name, {}, caller=admin, host=host))[0] is Code.FORBIDDEN
    assert (await operations.run("repaint", {})).text() == "all"


@pytest.mark.parametrize(
    ("error", "code"),
    [(Conflict("x"), Code.CONFLICT), (ItemNotFound("x"), Code.NOT_FOUND), (NotAllowed("x"), Code.FORBIDDEN),
     (ServiceUnavailable("x"), Code.FAILED), (StorageUnavailable("x"), Code.UNAVAILABLE),
     (OperationError("x", Code.CONFLICT), Code.CONFLICT)],
)  # fmt: skip
async def test_failures_have_a_code(error: Exception, code: Code) -> None:
    operations, paint = made()
    paint.error = error
    found, text = await refused(operations, "paint.fail", {})
    assert found is code and text.endswith("x")


async def test_what_cannot_be_run() -> None:
    operations, _ = made(live=False)
    assert (await refused(operations, "paint.fail", {}))[0] is Code.NOT_RUNNING
    assert (await refused(operations, "paint", {}))[0] is Code.UNKNOWN


def test_one_name_is_one_operation() -> None:
    class Other:
        @operation("paint.fail", "The same name.")
        async def fail(self) -> Note:
            return Note("")

    operations, paint = made()
    for other in (Other(), Paint()):
        with pytest.raises(LocalError, match="both have an operation paint"):
            operations.add(other, "localhost")
    with pytest.raises(LocalError, match=r"Other and Paint both have an operation paint\.fail"):
        operations.add(Other(), "other.example")  # the same everywhere, since nobody could tell which is meant
    operations.add(paint, "other.example")


def _synchronous(self: Any) -> Note: ...
async def _no_result(self: Any) -> str: ...
async def _untold(self: Any, jid: JID) -> Note: ...
async def _of_no_type(self: Any, jid: Annotated[bytes, Argument("x")]) -> Note: ...
async def _twice(self: Any, a: Annotated[tuple[str, ...], Argument("x")], b: Annotated[tuple[str, ...], Argument("x")]) -> Note: ...  # fmt: skip  # noqa: E501
async def _common(self: Any, json: Annotated[str, Argument("x")]) -> Note: ...
async def _not_there(self: Any, jid: Annotated[Nothing, Argument("x")]) -> Note: ...  # type: ignore[name-defined]  # noqa: F821
async def _endless(self: Any) -> Page: ...
async def _fine(self: Any) -> Note: ...


@pytest.mark.parametrize(
    ("name", "method", "said"),
    [("x.y", _synchronous, "no async function"), ("x.y", _no_result, "gives back a Result"),
     ("x.y", _untold, "must be Annotated"), ("x.y", _of_no_type, "no type of an argument"),
     ("x.y", _twice, "several values"), ("x.y", _common, "option of every command"),
     ("x.y", _not_there, "types cannot be read"), ("x.y", _endless, "an argument `after`"),
     ("X Y", _fine, "a name is like")],
)  # fmt: skip
def test_mistakes_of_authors_are_told_at_the_start(name: str, method: Callable[..., Any], said: str) -> None:
    async def again(self: Any) -> Note: ...

    cls = type("Wrong", (), {"method": operation(name, "A sentence.")(method)})
    with pytest.raises(LocalError, match=said):
        Operations(["localhost"]).add(cls(), "localhost")


async def test_lists_of_accounts_come_in_pages(server: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, each once, whatever the state; and they are counted."""
    monkeypatch.setattr("xmppd.admin.operations.PAGE", 2)
    monkeypatch.setattr("xmppd.admin.accounts.PAGE", 2)
    names = [f"user{number}" for number in range(5)]
    for name in names:
        await server.login(name, presence=name != "user3")
    operations = server.server.operations
    await operations.run("user.disable", {"jids": ["user1@localhost", "user4@localhost"]})
    await server.quiet()
    expected = {
        "registered": names, "disabled": ["user1", "user4"], "online": ["user0", "user2"],
        "active": ["user0", "user2", "user3"],
    }  # fmt: skip
    for state, wanted in expected.items():
        found: list[str] = []
        after: str | None = ""
        while after is not None:
            given = {"domain": "localhost", "state": state, "after": after}
            page = (await operations.answer("user.list", given)).result
            assert len(page["items"]) <= 2
            found += page["items"]
            after = page["next"] or None
        assert found == [f"{name}@localhost" for name in wanted]
        counted = await operations.answer("user.count", {"domain": "localhost", "state": state})
        assert counted.result == {"count": len(wanted)}


async def test_all_are_looked_at_before_one_is_changed(server: Harness) -> None:
    await server.register("romeo")
    operations = server.server.operations
    for name in ("user.del", "user.disable"):
        code, text = await refused(operations, name, {"jids": ["romeo@localhost", "nobody@localhost"]})
        assert (code, text) == (Code.NOT_FOUND, "nobody@localhost: there is no such account")
    assert await server.server.accounts.exists(JID.parse("romeo@localhost"))
    assert not await server.server.accounts.is_disabled(JID.parse("romeo@localhost"))
