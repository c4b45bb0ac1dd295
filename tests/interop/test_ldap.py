"""The plugin `ldap` against OpenLDAP."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from plugins.ldap import Config
from plugins.ldap.directory import Directory
from tests.harness import Client, Element, Harness
from tests.harness.sasl2 import NS, failure, mechanisms, plain
from tests.interop.slapd import BASE, PEOPLE, READER, READER_PASSWORD, Slapd, installed, person
from xmppd.config import Duration
from xmppd.contracts.identity import Identity, SourceUnavailable
from xmppd.jid import JID

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not installed() and os.environ.get("CI") != "true", reason="LDAP IS NOT TESTED: no slapd"),
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    slapd = Slapd(tmp_path_factory.mktemp("slapd")).start()
    yield slapd
    slapd.stop()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Slapd]:
    """For tests that change it."""
    slapd = Slapd(tmp_path / "slapd").start()
    yield slapd
    slapd.stop()


def options(slapd: Slapd, **more: Any) -> dict[str, Any]:
    return {
        "servers": (slapd.encrypted,),
        "ca": slapd.certificate,
        "base": PEOPLE,
        "bind_dn": READER,
        "password": READER_PASSWORD,
        **more,
    }


def directory(slapd: Slapd, **more: Any) -> Directory:
    return Directory(Config(**options(slapd, **more)))


def by_dn(slapd: Slapd, **more: Any) -> Directory:
    """Without a search, and without a password of the server's own."""
    more = {"base": "", "bind_dn": "", "password": "", "dn": f"uid={{name}},{PEOPLE}", **more}
    return directory(slapd, **more)


WAYS = pytest.mark.parametrize("way", [directory, by_dn], ids=["base", "dn"])


@WAYS
@pytest.mark.parametrize("servers", ["encrypted", "start_tls", "plain"])
def test_a_password(shared: Slapd, way: Any, servers: str) -> None:
    address = shared.encrypted if servers == "encrypted" else shared.plain
    found = way(shared, servers=(address,), start_tls=servers != "plain")
    identity = found.check("romeo", "pencil")
    assert identity is not None
    assert identity == Identity("romeo", identity.subject, "Romeo of Verona", "romeo@example.org")
    assert len(identity.subject) == 36
    assert found.check("romeo", "rapier") is None
    assert found.check("nobody", "pencil") is None
    found.close()


@WAYS
@pytest.mark.parametrize(
    "name",
    [
        "*", "romeo*", "ro*", "romeo)(uid=*", "*)(uid=*))(|(uid=*", "romeo)(|(uid=romeo", "\\2a", "romeo\\00", "(romeo",
        "romeo,ou=people", "romeo+cn=x", "juliet,ou=people,dc=example,dc=org#", '"', "#04", "=", ";", "<>", "romeo\\",
        "ROMEO", "rom\u00e9o", "", "romeo\0", "{name}", "x" * 1000,
    ],
)  # fmt: skip
def test_a_name_is_a_value(shared: Slapd, way: Any, name: str) -> None:
    """Whatever it is made of, it finds nobody, and the directory takes it."""
    found = way(shared)
    assert found.check(name, "pencil") is None
    assert not found.knows(name, "")
    found.close()


@WAYS
@pytest.mark.parametrize("password", ["", "\0", "\u00ad", "\u200b", "pencil\0", " ", "pencil ", "\ufeff", "\t"])
def test_a_password_that_is_nothing(shared: Slapd, way: Any, password: str) -> None:
    """This directory lets in as nobody who gives a name and no password."""
    found = way(shared)
    assert found.check("romeo", password) is None
    found.close()


def test_the_server_itself_without_a_password_is_nobody(shared: Slapd, tmp_path: Path) -> None:
    empty = tmp_path / "secret"
    empty.write_text("\n")
    found = directory(shared, password="", password_file=empty)
    with pytest.raises(SourceUnavailable, match="no password"):
        found.check("romeo", "pencil")
    empty.write_text(READER_PASSWORD + "\n")  # read anew
    assert found.check("romeo", "pencil") is not None
    found.close()


def test_the_password_in_the_environment(shared: Slapd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XMPPD_LDAP_PASSWORD", READER_PASSWORD)
    found = directory(shared, password="")
    assert found.check("romeo", "pencil") is not None
    found.close()


@pytest.mark.parametrize(
    "more",
    [
        {"password": "wrong"}, {"base": "ou=nowhere,dc=example,dc=org"}, {"bind_dn": "cn=nobody,dc=example,dc=org"},
        {"ca": None}, {"filter": "(uid={name})x)"}, {"base": "no name"},
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_server_is_no_refusal(shared: Slapd, more: dict[str, Any]) -> None:
    with pytest.raises(SourceUnavailable):
        directory(shared, **more).check("romeo", "pencil")


def test_a_certificate_for_another_name(tmp_path: Path) -> None:
    other = Slapd(tmp_path / "slapd", "ldap.example.org").start()
    try:
        for address in (other.encrypted, other.plain):
            with pytest.raises(SourceUnavailable, match="match"):
                by_dn(other, servers=(address,)).check("romeo", "pencil")
    finally:
        other.stop()


def test_the_filter_decides(shared: Slapd) -> None:
    found = directory(shared, filter="(&(uid={name})(!(employeeType=gone)))")
    assert found.check("tybalt", "cats") is None
    assert found.knows("tybalt", "") is False
    assert found.check("romeo", "pencil") is not None
    assert directory(shared).check("tybalt", "cats") is not None


def test_two_entries_are_nobody(shared: Slapd) -> None:
    assert directory(shared, filter="(|(uid={name})(uid=juliet))", name="").check("romeo", "pencil") is None


def test_an_entry_of_another_name(shared: Slapd) -> None:
    """A directory finds more than XMPP would take for the same."""
    found = directory(shared, filter="(mail={name}@example.org)")
    assert found.check("romeo", "pencil") is not None
    wide = directory(shared, filter="(&(uid=romeo)(!(uid={name})))")
    assert wide.check("juliet", "pencil") is None
    wide = directory(shared, filter="(&(uid=romeo)(!(uid={name})))", name="")
    identity = wide.check("juliet", "pencil")
    assert identity is not None and identity.username == "juliet"


def test_groups(shared: Slapd) -> None:
    found = directory(shared, groups_base=f"ou=groups,{BASE}")
    assert [found.check(*who).groups for who in (("romeo", "pencil"), ("juliet", "rapier"))] == [("montagues",), ()]  # type: ignore[union-attr]


def test_who_is_still_there(own: Slapd) -> None:
    found = directory(own)
    identity = found.check("romeo", "pencil")
    assert identity is not None
    assert found.knows("romeo", identity.subject) is True
    own.change("delete", f"uid=romeo,{PEOPLE}")
    assert found.knows("romeo", identity.subject) is False
    own.change("add", f"uid=romeo,{PEOPLE}", ["inetOrgPerson"], {"sn": "r", "cn": "Another", "userPassword": "pencil"})
    assert found.knows("romeo", identity.subject) is False
    again = found.check("romeo", "pencil")
    assert again is not None and again.subject != identity.subject
    assert by_dn(own).knows("romeo", "") is None


def test_connections_that_were_cut(own: Slapd) -> None:
    found = directory(own)
    assert found.check("romeo", "pencil") is not None
    own.stop()
    with pytest.raises(SourceUnavailable):
        found.check("romeo", "pencil")
    own.start()
    assert found.check("romeo", "pencil") is not None
    own.stop()
    own.start()
    assert found.check("romeo", "pencil") is not None
    found.close()


def test_another_server_answers(shared: Slapd) -> None:
    found = directory(shared, servers=("ldaps://localhost:1", shared.encrypted))
    assert found.check("romeo", "pencil") is not None
    found.close()


# ---- directories that are no good


def impostor(answer: Callable[[socket.socket], None]) -> str:
    """The address of a server that answers each connection so, until the test process ends."""
    listener = socket.create_server(("127.0.0.1", 0))

    def talk(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.recv(4096)
            answer(connection)

    def listen() -> None:
        while True:
            threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=listen, daemon=True).start()
    return f"ldap://localhost:{listener.getsockname()[1]}"


LONG = b"\x30\x84\x7f\xff\xff\xf0"
"""The beginning of an answer of 2 GiB."""


def drips(connection: socket.socket) -> None:
    connection.sendall(LONG)
    for _ in range(100):
        connection.sendall(b"\x02")
        time.sleep(0.2)


def floods(connection: socket.socket) -> None:
    connection.sendall(LONG)
    for _ in range(10_000):
        connection.sendall(bytes(65_536))


@pytest.mark.parametrize("start_tls", [False, True])
@pytest.mark.parametrize("answer", [drips, floods])
def test_an_answer_without_end(answer: Callable[[socket.socket], None], start_tls: bool) -> None:
    """It costs a thread for the time of an answer, and little memory."""
    config = Config(servers=(impostor(answer),), start_tls=start_tls, base=PEOPLE, timeout=Duration("1 second"))
    began = time.monotonic()
    with pytest.raises(SourceUnavailable, match=r"timed out|too long"):
        Directory(config).check("romeo", "pencil")
    assert time.monotonic() - began < 5


def test_a_server_that_is_silent_is_asked_last(shared: Slapd) -> None:
    """Only the first password waits for it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"ldaps://localhost:{silent.getsockname()[1]}"
        found = directory(shared, servers=(address, shared.encrypted), timeout=Duration("2 seconds"))
        assert found.check("romeo", "pencil") is not None
        began = time.monotonic()
        for _ in range(3):
            assert found.check("romeo", "pencil") is not None
        assert time.monotonic() - began < 2
        found.close()


# ---- a host


async def with_directory(slapd: Slapd, **more: Any) -> Harness:
    found = options(slapd, **more)
    harness = Harness(plugins={"ldap": {**found, "ca": str(found["ca"]), "servers": list(found["servers"])}})
    await harness.start()
    return harness


async def answer(client: Client, text: str) -> Element:
    """The directory is asked in threads of its own, for which the harness does not wait."""
    client.send(text)
    for _ in range(1500):
        await client.harness.quiet()
        if client.inbox:
            return await client.receive()
        await asyncio.sleep(0.01)
    raise AssertionError("no answer")


async def attempt(server: Harness, text: str) -> str:
    client = server.connect()
    client.open()
    client.features = await client.receive()
    assert mechanisms(client) == ["PLAIN"]
    found = await answer(client, text)
    return "" if found.tag == f"{{{NS}}}success" else failure(found)


async def test_a_host_whose_people_are_in_a_directory(own: Slapd) -> None:
    server = await with_directory(own, groups_base=f"ou=groups,{BASE}")
    try:
        assert await attempt(server, plain("romeo", "wrong")) == "not-authorized"
        assert not await server.server.accounts.exists(JID.parse("romeo@localhost"))
        assert await attempt(server, plain("Romeo", "pencil")) == ""
        assert "groups: montagues" in await server.operation("identity.show", jid="romeo@localhost")
        own.change("delete", f"uid=romeo,{PEOPLE}")
        await server.advance(10)
        await server.operation("identity.check")
        assert await server.server.accounts.is_disabled(JID.parse("romeo@localhost"))
    finally:
        await server.stop()


async def test_a_directory_that_stalls(own: Slapd) -> None:
    """Nobody else waits, and who asks hears that it is not his fault."""
    server = await with_directory(own, timeout="1 second", threads=2)
    try:
        assert await attempt(server, plain("romeo", "pencil")) == ""
        own.stall(True)
        began = time.monotonic()
        waiting = [asyncio.ensure_future(attempt(server, plain(f"person{each}", "x"))) for each in range(20)]
        laps = 0
        while not all(each.done() for each in waiting):
            lap = time.monotonic()
            await asyncio.sleep(0.01)
            assert time.monotonic() - lap < 0.5
            laps += 1
        assert {each.result() for each in waiting} == {"temporary-auth-failure"}
        assert time.monotonic() - began < 8
        assert laps > 20
        own.stall(False)
        await server.advance(10)
        assert await attempt(server, plain("romeo", "pencil")) == ""
    finally:
        await server.stop()


async def test_other_options_while_people_wait(own: Slapd) -> None:
    server = await with_directory(own, timeout="1 second", threads=1)
    try:
        own.stall(True)
        waiting = [asyncio.ensure_future(attempt(server, plain(f"person{each}", "x"))) for each in range(5)]
        await asyncio.sleep(0.3)
        server.host.plugins["ldap"].reconfigured()
        own.stall(False)
        assert set(await asyncio.gather(*waiting)) <= {"temporary-auth-failure", "not-authorized"}
        assert await attempt(server, plain("romeo", "pencil")) == ""
    finally:
        await server.stop()


def test_who_is_added_later(own: Slapd) -> None:
    assert "uid: paris" in person("paris", "county")
    own.change("add", f"uid=paris,{PEOPLE}", ["inetOrgPerson"], {"sn": "p", "cn": "Paris", "userPassword": "county"})
    assert directory(own).check("paris", "county") is not None
