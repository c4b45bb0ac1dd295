"""An import that is broken off and run again takes all the same."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from lxml import etree

from tests.moving.test_import import PIE, lost, report
from tests.process.client import Wire, body
from tests.process.server import ServerProcess, environment, invoke
from xmppd.errors import StorageUnavailable
from xmppd.moving.importer import Importer

STAMP = "2026-01-01T00:00:00Z"
FROM = "from='juliet@localhost/x' to='romeo@localhost'"
MESSAGE = f"<message xmlns='jabber:client' {FROM} type='chat' id='m'><body>hi</body>%s</message>"
DELAY = f"<delay xmlns='urn:xmpp:delay' stamp='{STAMP}'/>"
PEOPLE = (
    "<user name='romeo' password='pencil'><query xmlns='jabber:iq:roster'><item jid='juliet@localhost'/></query>"
    "<archive xmlns='urn:xmpp:pie:0#mam'><result xmlns='urn:xmpp:mam:2' id='1'><forwarded xmlns='urn:xmpp:forward:0'>"
    f"{DELAY}{MESSAGE % ''}</forwarded></result></archive>"
    f"<offline-messages>{MESSAGE % DELAY}</offline-messages><vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard></user>"
    "<user name='tybalt' password='pencil'>"
    "<account xmlns='urn:xmppd:moving:0'><disabled>administrator</disabled></account></user>"
)
ROOM = (
    "<room xmlns='urn:xmppd:moving:0' name='verona'><made creator='romeo@localhost' created='1700000000000000'/>"
    "<x xmlns='jabber:x:data' type='form'><field var='FORM_TYPE'>"
    "<value>http://jabber.org/protocol/muc#roomconfig</value></field>"
    "<field var='muc#roomconfig_passwordprotectedroom'><value>1</value></field>"
    "<field var='muc#roomconfig_roomsecret'><value>montague</value></field></x></room>"
)


@pytest.fixture(autouse=True)
def _in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def broken_off(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """Behind its first commit, behind the second one, and so on, until all is in."""
    commit: Any = Importer._commit
    for last in range(1, 20):
        number = 0

        async def some(self: Importer, intake: Any, writes: list[Any], last: int = last) -> None:
            nonlocal number
            number += bool(writes)
            if number > last:
                raise StorageUnavailable("the machine is gone")
            await commit(self, intake, writes)

        with monkeypatch.context() as patch:
            patch.setattr(Importer, "_commit", some)
            invoke("import", source, "--config", "xmppd.yaml")
        if number <= last:
            return
    raise AssertionError("it never came to its end")


def test_a_full_disk_is_told(folder: Path) -> None:
    """The store of a server tries again for ever; here somebody waits. No file can grow beyond 1 MB."""
    messages = "".join(
        f"<result xmlns='urn:xmpp:mam:2' id='{number}'><forwarded xmlns='urn:xmpp:forward:0'>"
        f"<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T{number // 60:02}:{number % 60:02}:00Z'/>"
        f"{MESSAGE % ('<x>' + token_hex(4000) + '</x>')}</forwarded></result>"
        for number in range(500)
    )
    user = f"<user name='romeo' password='x'><archive xmlns='urn:xmpp:pie:0#mam'>{messages}</archive></user>"
    Path("data.xml").write_text(PIE.format(host="localhost", users=user))
    done = subprocess.run(
        ["prlimit", "--fsize=1000000", sys.executable, "-m", "xmppd", "import", "data.xml", "--config", "xmppd.yaml"],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "is the disk full" in done.stderr
    assert "Traceback" not in done.stderr
    check = invoke("store", "check", "--config", "xmppd.yaml")
    assert check.status == 0, check.text
    assert "known to no plugin" not in check.text
    found = report("data.xml")
    assert not lost(found)
    assert found["hosts"]["localhost"]["archived messages"]["there_already"] > 0


def written() -> dict[str, str]:
    """What an export says, without what differs each time."""
    assert invoke("export", "out", "--config", "xmppd.yaml").status == 0
    changing = re.compile(r"(secret|created)=[\"'][^\"']*[\"']|<scram-credentials.*?</scram-credentials>", re.DOTALL)
    return {str(each): changing.sub("", each.read_text()) for each in Path("out").rglob("*") if each.is_file()}


@pytest.fixture
def exports(folder: Path, other: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Of a server (`folder`) that has taken in all in pieces, and of one that has taken it in one go."""
    inside = PIE.format(host="localhost", users=PEOPLE).replace("</server-data>", "")
    inside += f"<host jid='conference.localhost'>{ROOM}</host></server-data>"
    found = []
    for each in (other, folder):
        monkeypatch.chdir(each)
        Path("data.xml").write_text(inside)
        if each is folder:
            broken_off(monkeypatch, "data.xml")
        assert not lost(report("data.xml"))
        found.append(written())
    return found


async def test_all_is_there(exports: list[dict[str, str]], server: ServerProcess) -> None:
    assert exports[0] == exports[1]
    assert "disabled" in exports[1]["out/localhost.xml"]
    assert "montague" in exports[1]["out/conference.localhost.xml"]
    await server.start()
    async with await Wire.login(server.port(), "romeo") as wire:
        wire.send("<presence/>")
        assert body(await wire.find("message")) == "hi", "it waited for him"
        wire.send("<iq type='get' id='inbox'><inbox xmlns='urn:xmpp:inbox:1'/></iq>")
        entry = await wire.find("message")
        assert "juliet@localhost" in etree.tostring(entry).decode()
