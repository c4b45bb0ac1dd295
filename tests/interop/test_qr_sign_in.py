"""Converse.js in Chromium, signed in by a code that a phone (slixmpp) reads."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET  # slixmpp's
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from slixmpp.exceptions import IqError

from tests.interop import test_converse
from tests.interop.browser import Browser, Tab
from tests.interop.conftest import needed
from tests.interop.people import WITHIN, Person
from tests.interop.test_converse import Site, add_contact, hear, open_chat, say, shot

pytestmark = pytest.mark.timeout(300)
COMMANDS = "http://jabber.org/protocol/commands"
FORMS = "jabber:x:data"
PANEL = "xmppd-qr-sign-in"
STORED = "localStorage.getItem('xmppd-qr-sign-in')"
browser, tab = test_converse.browser, test_converse.tab


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    needed("chromium")
    (tmp_path / "server").mkdir()
    found = Site(tmp_path / "server")
    server = found.server
    whole = json.loads(server.config.read_text())
    whole["hosts"]["localhost"]["plugins"]["qr_sign_in"] = {}
    server.config.write_text(json.dumps(whole))
    try:
        await server.start()
        yield found
    finally:
        for person in found.people:
            person.leave()
        server.kill()
    assert "Traceback" not in server.log, server.log


async def command(person: Person, node: str, session: str = "", to: str = "localhost", **fields: str) -> ET.Element:
    asked = ET.Element(f"{{{COMMANDS}}}command", {"node": node} | ({"sessionid": session} if session else {}))
    if fields:
        form = ET.SubElement(asked, f"{{{FORMS}}}x", {"type": "submit"})
        for var, value in fields.items():
            ET.SubElement(ET.SubElement(form, f"{{{FORMS}}}field", {"var": var}), f"{{{FORMS}}}value").text = value
    iq: Any = person.make_iq_set(sub=asked, ito=to)
    answer: ET.Element = (await iq.send(timeout=WITHIN)).xml
    return answer[0]


async def code(tab: Tab) -> str:
    """The node of the command that the picture leads to, as the link beside it has it."""
    await tab.until(f"document.querySelector('{PANEL} img')?.naturalWidth > 100")
    address = str(await tab.run(f"document.querySelector('{PANEL} a').href"))
    assert address.startswith("xmpp:localhost?command;node=")
    return unquote(address.partition("node=")[2].partition(";")[0])


async def approve(person: Person, node: str, yes: str = "1") -> str:
    """What the phone is shown, with its answer."""
    form = await command(person, node)
    await command(person, node, str(form.get("sessionid")), approve=yes)
    return ET.tostring(form, "unicode")


async def signed_in(site: Site, tab: Tab) -> Person:
    """Romeo, who has signed in a browser with his phone."""
    await site.server.account("romeo")
    romeo = await site.again(Person("romeo@localhost", site.server.certificate))
    await tab.go(site.address)
    node = await code(tab)
    await shot(tab, "qr-1-page")
    shown = await approve(romeo, node)
    assert "Chrome on Linux" in shown and "Chrome on Linux at 127.0.0.1 asks" in shown
    await tab.shows("converse-user-profile", "romeo")
    return romeo


async def test_signed_in_by_the_phone(site: Site, tab: Tab, browser: Browser) -> None:
    juliet = await site.juliet()
    romeo = await signed_in(site, tab)
    await add_contact(tab, "juliet@localhost")
    await open_chat(tab, "juliet@localhost")
    juliet.say("romeo@localhost", "Wherefore art thou?")
    await hear(tab, "juliet@localhost", "Wherefore art thou?")
    await say(tab, "Call me but love")
    assert (await juliet.hear())["body"] == "Call me but love"
    assert "pencil" not in str(await tab.run("JSON.stringify({...localStorage, ...sessionStorage})"))

    # loaded anew, restarted, in another tab: without the phone
    await tab.reload()
    await tab.shows("converse-user-profile", "romeo")
    await site.server.stop()
    await site.server.start()
    await tab.reload()
    await tab.shows("converse-user-profile", "romeo")
    other = await browser.open()
    await other.go(site.address)
    await other.shows("converse-user-profile", "romeo")
    await other.close()
    romeo = await site.again(Person("romeo@localhost", site.server.certificate))

    # rotated when it is a day old
    first = await tab.run(f"JSON.parse({STORED}).token")
    await tab.run(f"localStorage.setItem('xmppd-qr-sign-in', JSON.stringify({{...JSON.parse({STORED}), since: 0}}))")
    await tab.reload()
    await tab.until(f"JSON.parse({STORED}).token !== '{first}'")
    await tab.reload()
    await tab.shows("converse-user-profile", "romeo")

    # signed out by the phone
    form = await command(romeo, "urn:xmppd:devices", to="romeo@localhost")
    device = next(
        each for each in form.iter(f"{{{FORMS}}}option") if "Converse in Chrome on Linux" in str(each.get("label"))
    )
    value = device.findtext(f"{{{FORMS}}}value") or ""
    await command(romeo, "urn:xmppd:devices", str(form.get("sessionid")), "romeo@localhost", devices=value)
    await tab.shows(f"{PANEL} img")
    await tab.shows("converse-login-form", "This browser was signed out")
    assert await tab.run(STORED) is None


async def test_signing_out(site: Site, tab: Tab) -> None:
    await signed_in(site, tab)
    stolen = await tab.run(STORED)
    await tab.click("converse-user-profile a.show-profile")
    await tab.click("converse-profile-modal .btn-danger", "Log out")
    await tab.click("converse-confirm-modal .btn-primary, .modal.show .btn-primary")
    await tab.shows(f"{PANEL} img")
    assert await tab.run(STORED) is None
    await tab.run(f"localStorage.setItem('xmppd-qr-sign-in', {stolen!r})")
    await tab.reload()
    await tab.shows("converse-login-form", "This browser was signed out")
    # Converse itself, which still asks for OMEMO devices when somebody logs out at once
    tab.complaints[:] = [each for each in tab.complaints if "(reading 'devices')" not in each]


async def test_not_a_trusted_device(site: Site, tab: Tab) -> None:
    """What is kept goes with the tab."""
    await site.server.account("romeo")
    romeo = await site.again(Person("romeo@localhost", site.server.certificate))
    await tab.go(site.address)
    await tab.click("input[name=trusted]")
    await approve(romeo, await code(tab))
    await tab.shows("converse-user-profile", "romeo")
    assert await tab.run(STORED) is None
    await tab.reload()
    await tab.shows("converse-user-profile", "romeo")


async def test_refused_and_another_code(site: Site, tab: Tab) -> None:
    await site.server.account("romeo")
    romeo = await site.again(Person("romeo@localhost", site.server.certificate))
    await tab.go(site.https)
    first = await code(tab)
    await approve(romeo, first, "0")
    await tab.shows(PANEL, "Your phone has said no.")
    await shot(tab, "qr-2-refused")
    with pytest.raises(IqError, match="item-not-found"):
        await command(romeo, first)
    await tab.click(f"{PANEL} button", "Show a code")
    second = await code(tab)
    assert second != first
    await approve(romeo, second)
    await tab.shows("converse-user-profile", "romeo")
    assert f"{site.https.replace('https', 'wss')}xmpp-websocket" in tab.requests


async def test_over_bosh(site: Site, tab: Tab) -> None:
    await tab.call("Page.addScriptToEvaluateOnNewDocument", source="delete window.WebSocket")
    await signed_in(site, tab)
    assert f"{site.address}http-bind" in tab.requests
    await tab.reload()
    await tab.shows("converse-user-profile", "romeo")
