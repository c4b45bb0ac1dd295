"""xmppd import and export, as an administrator runs them, on what is good and on what is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.process.client import SignInFailed, Wire
from tests.process.server import Outcome, ServerProcess, configuration, invoke

PIE = "<server-data xmlns='urn:xmpp:pie:0'><host jid='{host}'>{users}</host></server-data>"


@pytest.fixture(autouse=True)
def _in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def pie(users: str, host: str = "localhost", name: str = "data.xml") -> str:
    Path(name).write_text(PIE.format(host=host, users=users))
    return name


def run(*arguments: str) -> Outcome:
    outcome = invoke("import", *arguments, "--config", "xmppd.yaml")
    assert "Traceback" not in outcome.text
    return outcome


def report(*arguments: str, status: int | None = None) -> Any:
    outcome = run(*arguments, "--json")
    assert outcome.status in ((0, 1) if status is None else (status,)), outcome.text
    return json.loads(outcome.out)


def lost(found: Any) -> str:
    return "\n".join([each["what"] for each in found["not_carried"]] + found["problems"])


def exported(jid: str, folder: str = "out") -> str:
    outcome = invoke("export", folder, "--account", jid, "--config", "xmppd.yaml")
    assert outcome.status == 0, outcome.text
    return (Path(folder) / f"{jid.partition('@')[2]}.xml").read_text()


ROMEO = "<user name='romeo' password='pencil'>{}</user>"


# ---- what is no source


def test_what_is_no_source_is_refused() -> None:
    Path("notes.txt").write_text("romeo pencil\n")
    Path("empty").mkdir()
    for source in ("notes.txt", "empty", "nothing.xml", "xmppd.yaml"):
        outcome = run(source)
        assert outcome.status == 2, source
        assert source in outcome.err


def test_entities_are_refused() -> None:
    """Billion laughs: nothing is expanded, nothing is taken."""
    laughs = "".join(f"<!ENTITY l{n} '{f'&l{n - 1};' * 10}'>" for n in range(1, 10))
    Path("laughs.xml").write_text(
        f"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY l0 'lol'>{laughs}]>"
        + PIE.format(host="localhost", users="<user name='romeo' password='&l9;'/>")
    )
    found = report("laughs.xml", status=1)
    assert "document type" in lost(found)
    assert found["hosts"] == {}


def test_a_truncated_file_gives_what_it_has() -> None:
    whole = PIE.format(host="localhost", users=ROMEO.format("") + "<user name='juliet' password='x'><vCard xmlns='v")
    Path("half.xml").write_text(whole[: whole.index("xmlns='v") + 4])
    found = report("half.xml", status=1)
    assert found["hosts"]["localhost"]["accounts"]["added"] == 2
    assert "half.xml:1: it is no XML from here on" in lost(found)


def test_other_xml_is_told() -> None:
    Path("page.xml").write_text("<html xmlns='http://www.w3.org/1999/xhtml'/>")
    assert "not that of a file of XEP-0227" in lost(report("page.xml", status=1))


def test_includes_stay_in_the_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret.xml"
    outside.write_text("<user xmlns='urn:xmpp:pie:0' name='tybalt' password='x'/>")
    Path("localhost").mkdir()
    Path("localhost/romeo.xml").write_text("<user xmlns='urn:xmpp:pie:0' name='romeo' password='pencil'/>")
    Path("loop.xml").write_text(
        "<server-data xmlns='urn:xmpp:pie:0' xmlns:xi='http://www.w3.org/2001/XInclude'><xi:include href='loop.xml'/>"
        "</server-data>"
    )
    Path("link.xml").symlink_to(outside)
    hrefs = ("localhost/romeo.xml", f"../{outside.parent.name}/secret.xml", f"file://{outside}", "http://127.0.0.1/x",
             "link.xml", "missing.xml")  # fmt: skip
    includes = "".join(f"<xi:include xmlns:xi='http://www.w3.org/2001/XInclude' href='{href}'/>" for href in hrefs)
    found = report(pie(includes), status=1)
    assert found["hosts"]["localhost"]["accounts"]["added"] == 1
    assert len(found["problems"]) == 5, found["problems"]
    assert "tybalt" not in exported("romeo@localhost")
    assert "read already" in lost(report("loop.xml", status=1))


# ---- whom it takes


def test_another_host() -> None:
    source = pie(
        ROMEO.format(
            "<query xmlns='jabber:iq:roster'><item jid='juliet@old.example' subscription='both'/>"
            "<item jid='x@other.example'/></query>"
            "<archive xmlns='urn:xmpp:pie:0#mam'><result xmlns='urn:xmpp:mam:2' id='q'><forwarded xmlns="
            "'urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='2020-07-10T23:08:25Z'/><message xmlns="
            "'jabber:client' from='juliet@old.example/b' to='romeo@old.example'><body>a@old.example</body></message>"
            "</forwarded></result></archive>"
        ),
        host="old.example",
    )
    found = report(source, status=1)
    assert "--host old.example=" in lost(found)
    assert found["hosts"] == {}
    found = report(source, "--host", "old.example=localhost", status=0)
    assert found["hosts"]["localhost"]["accounts"]["added"] == 1
    xml = exported("romeo@localhost")
    assert "juliet@localhost" in xml
    assert "x@other.example" in xml
    assert 'from="juliet@localhost/b"' in xml.replace("'", '"')
    assert "<body>a@old.example</body>" in xml, "what people have said is left alone"


@pytest.mark.parametrize("given", ["old", "=", "a=b=c", "x@y=localhost", "old=a b"])
def test_bad_names_of_hosts(given: str) -> None:
    assert run(pie(""), "--host", given).status == 2


def test_names_that_cannot_be() -> None:
    source = pie(
        "<user name='a b'/><user name=''/><user/><user name='x@y'/>" + f"<user name='{'n' * 1100}'/>" + ROMEO.format("")
    )
    found = report(source, status=1)
    assert found["hosts"]["localhost"]["accounts"]["added"] == 1
    assert len(found["problems"]) == 5


def test_two_addresses_that_are_one_here() -> None:
    """Nobody gets what is another's; a second source, and the same one again, may have the same spelling."""
    card, other = (f"<vCard xmlns='vcard-temp'><{name}>mine</{name}></vCard>" for name in ("FN", "NICKNAME"))
    users = f"<user name='Romeo' password='x'>{card}</user><user name='romeo' password='y'>{other}</user>"
    for added in (1, 0):
        found = report(pie(users), status=1)
        assert found["hosts"]["localhost"]["accounts"]["added"] == added
        assert "another spelling" in lost(found)
        assert found["not_carried"][0]["owners"] == ["romeo@localhost"]
    assert "NICKNAME" not in exported("romeo@localhost")


async def signs_in(server: ServerProcess, password: str) -> bool:
    async with await Wire.connect(server.port()) as wire:
        try:
            await wire.sign_in("romeo", password)
        except SignInFailed:
            return False
        return True


@pytest.mark.parametrize(("existing", "password", "name"), [
    ("merge", "old", "Jule"), ("replace", "pencil", "Juliet"), ("skip", "old", "Jule"),
])  # fmt: skip
def test_an_account_that_is_there(existing: str, password: str, name: str, server: ServerProcess) -> None:
    import asyncio

    roster = "<query xmlns='jabber:iq:roster'><item jid='juliet@localhost' name='{}'/>{}</query>"
    report(pie(f"<user name='romeo' password='old'>{roster.format('Jule', '')}</user>"), status=0)
    source = pie(ROMEO.format(roster.format("Juliet", "<item jid='nurse@localhost'/>")))
    found = report(source, "--existing", existing, status=0)
    assert found["hosts"]["localhost"]["accounts"] == {"added": 0, "there_already": 1}
    xml = exported("romeo@localhost")
    assert f'name="{name}"' in xml
    assert ("nurse@localhost" in xml) is (existing != "skip")

    async def check() -> None:
        await server.start()
        assert await signs_in(server, password)
        assert not await signs_in(server, "pencil" if password == "old" else "old")

    asyncio.run(check())


def test_an_account_without_a_password_is_told() -> None:
    found = report(pie("<user name='romeo'/>"), status=0)
    assert "set one" in found["notes"][0]["what"]


# ---- parts that are bad


def test_bad_parts_are_told_and_the_rest_is_taken() -> None:
    keys = (
        "<scram-credentials xmlns='urn:xmpp:pie:0#scram' mechanism='{}'><iter-count>{}</iter-count>"
        "<salt>c2FsdA==</salt>"
        "<server-key>{}</server-key><stored-key>{}</stored-key></scram-credentials>"
    )
    archived = (
        "<result xmlns='urn:xmpp:mam:2' id='{}'><forwarded xmlns='urn:xmpp:forward:0'>{}<message xmlns='jabber:client' "
        "from='{}' to='romeo@localhost' type='{}'><body>hi</body></message></forwarded></result>"
    )
    delay = "<delay xmlns='urn:xmpp:delay' stamp='2020-07-10T23:08:25Z'/>"
    source = pie(
        ROMEO.format(
            keys.format("SCRAM-MD5", 4096, "", "")
            + keys.format("SCRAM-SHA-1", 0, "", "")
            + keys.format("SCRAM-SHA-1", 4096, "??", "??")
            + "<query xmlns='jabber:iq:roster'><item jid='not an address'/><item/><item jid='juliet@localhost' "
            "subscription='odd'/></query>"
            f"<vCard xmlns='vcard-temp'><FN>R</FN><PHOTO><BINVAL>{'A' * 300_000}</BINVAL></PHOTO></vCard>"
            "<weather xmlns='urn:example:weather'/>"
            "<presence xmlns='jabber:client' from='@@' type='subscribe'/>"
            "<archive xmlns='urn:xmpp:pie:0#mam'>"
            + archived.format("a", "", "juliet@localhost", "chat")
            + archived.format("b", delay, "@", "chat")
            + archived.format("c", delay, "juliet@localhost", "groupchat")
            + archived.format("d", delay.replace("2020", "20200"), "juliet@localhost", "chat")
            + archived.format("e", delay, "juliet@localhost", "chat")
            + "</archive>"
            "<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><configure node='n'><x xmlns='jabber:x:data' "
            "type='form'><field var='pubsub#access_model'><value>friends</value></field></x></configure></pubsub>"
            "<query xmlns='jabber:iq:privacy'><default name='d'/><list name='d'><item type='group' value='g' "
            "action='deny' order='1'/><item type='jid' value='tybalt@localhost' action='deny' order='2'/></list>"
            "</query>"
        )
    )
    found = report(source, status=1)
    told = lost(found)
    for text in (
        "SCRAM-MD5", "iterations", "no base64", "'not an address'", "picture of the card", "urn:example:weather",
        "has no time", "groupchat", "access_model", "privacy list",
    ):  # fmt: skip
        assert text in told, text
    counts = found["hosts"]["localhost"]
    assert counts["contacts"]["added"] == 1
    assert counts["cards"]["added"] == 1
    assert counts["archived messages"]["added"] == 1
    assert counts["blocks"]["added"] == 1
    assert "whitelist" in exported("romeo@localhost"), "who may read is not known, so nobody may"
    outcome = invoke("store", "check", "--config", "xmppd.yaml")
    assert outcome.status == 0, outcome.text


def test_what_is_too_large_is_passed_over() -> None:
    item = "<item jid='juliet@localhost'><group>{}</group></item>"
    big = "<query xmlns='jabber:iq:roster'>" + item.format("x" * (17 << 20)) + item.format("Capulet") + "</query>"
    deep = "<vCard xmlns='vcard-temp'>" + "<a>" * 500 + "</a>" * 500 + "</vCard>"
    found = report(pie(ROMEO.format(deep + big)), status=1)
    assert found["hosts"]["localhost"]["contacts"]["added"] == 1
    assert lost(found).count("too large, or too deep") == 2


def test_many_messages_come_in_pieces() -> None:
    """Of one second, in order, and once."""
    one = (
        "<result xmlns='urn:xmpp:mam:2' id='{0}'><forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' "
        "stamp='2020-07-10T23:08:25Z'/><message xmlns='jabber:client' from='juliet@localhost/b' to='romeo@localhost' "
        "type='chat'><body>{1}</body></message></forwarded></result>"
    )
    archive = "".join(one.format(number, f"m{number // 2}") for number in range(450))
    source = pie(ROMEO.format(f"<archive xmlns='urn:xmpp:pie:0#mam'>{archive}</archive>"))
    for added in (450, 0):
        found = report(source, status=0)
        assert found["hosts"]["localhost"]["archived messages"]["added"] == added
    exported("romeo@localhost")
    lines = Path("out/localhost/romeo.messages.jsonl").read_text().splitlines()
    assert [json.loads(line)["body"] for line in lines] == [f"m{number // 2}" for number in range(450)]


# ---- Prosody


def prosody(name: str, text: str) -> None:
    path = Path("data/localhost") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_broken_files_of_prosody_are_told() -> None:
    prosody("accounts/romeo.dat", 'return { ["password"] = "pencil"; };')
    prosody("accounts/juliet.dat", "return { os.execute('true') };")
    prosody("accounts/nurse.dat", 'return { ["password"] = "unfinished')
    prosody("roster/romeo.dat", "return " + "{" * 5000)
    good = '{ ["name"] = "message"; ["when"] = 1; ["attr"] = { ["from"] = "a@b"; ["to"] = "romeo@localhost" }; }'
    prosody("archive/romeo.list", f'item({good});\nitem({{ ["when"] = "x" }});\nitem(4);\nitem({{')
    found = report("data", status=1)
    assert found["hosts"]["localhost"]["accounts"]["added"] == 1
    assert len(found["problems"]) == 6, found["problems"]


# ---- a running server


async def test_a_running_server_is_left_alone(server: ServerProcess) -> None:
    await server.start()
    for command in (("import", pie("")), ("export", "out")):
        outcome = await server.cli(*command)
        assert outcome.status == 3
        assert "stop it first" in outcome.err


def test_what_is_asked_for() -> None:
    report(pie("<user name='romeo' password='x'/><user name='juliet' password='x'/>"), status=0)
    for arguments in (("--account", "nurse@localhost"), ("--host", "other.example"), ("--account", "localhost")):
        assert invoke("export", "none", *arguments, "--config", "xmppd.yaml").status in (1, 2), arguments
    assert "name='romeo'" in exported("romeo@localhost")
    assert "juliet" not in Path("out/localhost.xml").read_text()
    outcome = invoke("export", "out", "--config", "xmppd.yaml")
    assert outcome.status == 2
    assert "not empty" in outcome.err


# ---- a plugin of one's own

DIARY = """
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from xmppd.contracts.moving import PORTABLE, Intake, OwnerKind, Portable
from xmppd.plugin import E, JID, Element, NoConfig, Plugin, on
from xmppd.storage.api import Write

@dataclass(frozen=True)
class Page:
    text: str

class Diary(Plugin[NoConfig]):
    def setup(self) -> None:
        self.pages = self.host.storage.map("diary", Page)

    @on(PORTABLE)
    def portable(self, domain: JID) -> Iterable[Portable]:
        yield Portable(OwnerKind.ACCOUNT, ("urn:example:diary|page",), self.give, self.take)

    async def give(self, owner: JID) -> AsyncIterator[Element]:
        for key, page in (await self.pages.read_all(owner.bare)).items():
            yield E("page", "urn:example:diary", {"day": key}, page.text)

    async def take(self, owner: JID, page: Element, intake: Intake) -> Sequence[Write]:
        intake.took("pages")
        return [self.pages.put(owner.bare, str(page.get("day")), Page(page.text or ""))]
"""


def test_a_plugin_of_ones_own_moves_its_part() -> None:
    Path("own").mkdir()
    Path("own/diary.py").write_text(DIARY)
    Path("xmppd.yaml").write_text(configuration(plugins={"diary": {}}, plugin_path=["own"]))
    found = report(pie(ROMEO.format("<page xmlns='urn:example:diary' day='1'>Dear diary</page>")), status=0)
    assert found["hosts"]["localhost"]["pages"]["added"] == 1
    assert "Dear diary" in exported("romeo@localhost")


def test_privacy_and_second_factors_move(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only this server knows moves between two of its kind; the keys of the two servers differ."""
    text = configuration(plugins={"totp": {}})
    Path("xmppd.yaml").write_text(text)
    policy = (
        "<policy xmlns='urn:xmppd:privacy'><online people='nobody'/><last-seen people='contacts'>"
        "<but>tybalt@localhost</but></last-seen></policy>"
    )
    factor = "<factor xmlns='urn:xmppd:totp:moved:0' secret='{}' since='1700000000.0'/>"
    secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
    bad = "<user name='juliet' password='x'>" + policy.replace("nobody", "foes") + factor.format("short") + "</user>"
    found = report(pie(ROMEO.format(policy + factor.format(secret)) + bad), status=1)
    assert found["hosts"]["localhost"]["second factors"]["added"] == 1
    assert found["hosts"]["localhost"]["privacy settings"]["added"] == 1
    assert len(found["not_carried"]) == 2
    first = exported("romeo@localhost")
    assert secret in first
    source = Path("out").resolve()
    there = tmp_path_factory.mktemp("there")
    (there / "xmppd.yaml").write_text(text)
    monkeypatch.chdir(there)
    report(str(source), status=0)
    assert exported("romeo@localhost") == first


def test_a_second_factor_is_not_lost_in_silence() -> None:
    """Where nobody knows it, it is told."""
    found = report(pie(ROMEO.format("<factor xmlns='urn:xmppd:totp:moved:0' secret='x' since='1'/>")), status=1)
    assert "urn:xmppd:totp" in lost(found)
