"""Converse.js in Chromium, as the plugin web_client serves it: what people do on the page of `make run`."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import ssl
import struct
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate
from slixmpp import JID
from slixmpp.exceptions import PresenceError

from tests.interop import npm
from tests.interop.browser import Browser, Tab
from tests.interop.conftest import needed
from tests.interop.people import WITHIN, Person, eventually
from tests.ports import free_port
from tests.process.server import ServerProcess, configuration

pytestmark = pytest.mark.timeout(300)
PASSWORD = "pencil-pencil"
SHOTS = os.environ.get("XMPPD_TEST_PICTURES", "")
"""A folder for pictures of the page."""
BODY = ".chat-msg__text"


def png(colour: tuple[int, int, int], size: int = 240) -> bytes:
    """A picture of one colour."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = (b"\0" + bytes(colour) * size) * size
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class Site:
    """A server with the page, and who is there."""

    def __init__(self, folder: Path) -> None:
        web = {"web_client": {"folder": str(npm.web_client()), "title": "Verona"}}
        plain, secure = free_port(), free_port()  # the page comes back to the same ones after a restart
        listeners = [
            {"port": 0},
            {"kind": "http", "port": plain, "tls": "none"},
            {"kind": "http", "port": secure, "tls": "direct"},
        ]
        registration = {"register": {"mode": "open", "captcha": False}}
        self.server = ServerProcess(folder, configuration(plugins=web | registration, listeners=listeners))
        self.address, self.https = f"http://localhost:{plain}/", f"https://localhost:{secure}/"
        self.people: list[Person] = []

    async def juliet(self) -> Person:
        """Signed in with another client."""
        await self.server.account("juliet")
        return await self.again(Person("juliet@localhost", self.server.certificate))

    async def again(self, person: Person) -> Person:
        self.people.append(person)
        for number in ("xep_0363", "xep_0066"):
            person.register_plugin(number)
        await person.sign_in(self.server.port())
        await person.appear()
        return person


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    needed("chromium")
    (tmp_path / "server").mkdir()
    found = Site(tmp_path / "server")
    try:
        yield await _started(found)
    finally:
        for person in found.people:
            person.leave()
        found.server.kill()
    assert "Traceback" not in found.server.log, found.server.log


async def _started(site: Site) -> Site:
    await site.server.start()
    return site


@pytest.fixture
async def browser(site: Site, tmp_path: Path) -> AsyncIterator[Browser]:
    certificate = load_pem_x509_certificate(site.server.certificate.read_bytes())
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    known = base64.b64encode(hashlib.sha256(key).digest()).decode()
    (tmp_path / "browser").mkdir()
    async with Browser(tmp_path / "browser", f"--ignore-certificate-errors-spki-list={known}") as found:
        yield found


@pytest.fixture
async def tab(site: Site, browser: Browser) -> AsyncIterator[Tab]:
    """Whatever a test does there: the page asks nobody but its server, and nothing that it does is refused."""
    found = await browser.open()
    try:
        yield found
    except BaseException:
        await shot(found, "failed")
        raise
    origins = {urlsplit(each).netloc for each in found.requests if not each.startswith(("data:", "blob:", "about:"))}
    complaints = [each for each in found.complaints if "ERR_CONNECTION_REFUSED" not in each]
    await found.close()
    assert origins <= {urlsplit(site.address).netloc, urlsplit(site.https).netloc}
    assert not complaints


async def shot(tab: Tab, name: str) -> None:
    """For whoever wants to look at it."""
    if SHOTS:
        await tab.until("document.getAnimations().every(each => each.playState !== 'running')")
        await tab.picture(Path(SHOTS) / f"{name}.png")


async def sign_in(tab: Tab, address: str, name: str) -> None:
    await tab.go(address)
    await tab.type("input[name=jid]", name)
    await tab.type("input[name=password]", "pencil")
    await tab.click("converse-login-form [type=submit]")
    await tab.shows("converse-user-profile", name)


async def register(tab: Tab, address: str, name: str) -> None:
    await tab.go(address)
    await tab.shows("converse-brand-logo", "Verona")
    await shot(tab, "1-first-page")
    await tab.click("a", "Create an account")
    await tab.type("converse-registration-form input[name=username]", name)
    await tab.type("converse-registration-form input[name=password]", PASSWORD)
    await shot(tab, "2-registration")
    await tab.click("converse-registration-form input[type=submit]")
    await tab.shows("converse-user-profile", name)


async def add_contact(tab: Tab, jid: str) -> None:
    await tab.click(".dropdown--contacts button")
    await tab.click("a.add-contact")
    await tab.type("form.add-xmpp-contact input[name=jid]", jid)
    await shot(tab, "3-add-contact")
    await tab.click("form.add-xmpp-contact button[type=submit]")


async def open_chat(tab: Tab, jid: str) -> None:
    """The list of contacts may move under the mouse: who has missed clicks again."""
    await tab.click(f"a.open-chat[data-jid='{jid}']")
    await tab.until(open_again(jid))
    await tab.shows("textarea.chat-textarea")


async def hear(tab: Tab, jid: str, text: str) -> None:
    """Wait until a chat shows what was said there. A page that was just loaded may have closed it again: it shows a
    number at the contact then, and whoever sees that opens the chat."""
    await tab.until(
        f"{open_again(jid)}, [...document.querySelectorAll('{BODY}')].some(each => "
        f"each.checkVisibility() && each.textContent.includes({json.dumps(text)}))"
    )


def open_again(jid: str) -> str:
    """An expression: true if a chat is open; else the contact is clicked."""
    contact = json.dumps(f"a.open-chat[data-jid='{jid}']")
    click = f"document.querySelector({contact})?.click() && false"
    return f"(document.querySelector('textarea.chat-textarea') ? true : {click})"


async def say(tab: Tab, text: str) -> None:
    await tab.type("textarea.chat-textarea", text, enter=True)


async def reload(tab: Tab, text: str) -> None:
    """As soon as the page has written down a message: it does so a moment after it shows it, and asks the server for
    nothing that it was sent in a session which it resumes."""
    await tab.shows(BODY, text)
    await tab.until(
        "(async () => { for (const { name } of await indexedDB.databases()) {"
        "const done = (request) => new Promise((good, bad) => {"
        "  request.onsuccess = () => good(request.result); request.onerror = bad; });"
        "const database = await done(indexedDB.open(name));"
        "try { for (const store of database.objectStoreNames) {"
        "  const rows = await done(database.transaction(store).objectStore(store).getAll());"
        f" if (JSON.stringify(rows).includes({json.dumps(text)})) return true;"
        "} } finally { database.close(); } } })()"
    )
    await tab.reload()


async def test_a_newcomer_makes_an_account_and_chats(site: Site, tab: Tab) -> None:
    juliet = await site.juliet()
    await register(tab, site.address, "romeo")
    await add_contact(tab, "juliet@localhost")
    await eventually(lambda: juliet.sees("romeo@localhost"), "Juliet sees Romeo")
    await open_chat(tab, "juliet@localhost")
    await say(tab, "But, soft! what light")
    assert (await juliet.hear())["body"] == "But, soft! what light"
    juliet.say("romeo@localhost", "Ay me!")
    await hear(tab, "juliet@localhost", "Ay me!")
    await shot(tab, "4-chat")

    await reload(tab, "Ay me!")  # signed in at once, and what was said is there
    await tab.shows("converse-user-profile", "romeo")
    await hear(tab, "juliet@localhost", "Ay me!")
    await tab.shows(BODY, "But, soft! what light")
    await say(tab, "She speaks")
    assert (await juliet.hear())["body"] == "She speaks"
    await shot(tab, "5-after-reload")

    juliet.leave()
    await site.server.stop()
    await site.server.start()
    juliet = await site.again(Person("juliet@localhost", site.server.certificate))
    juliet.say("romeo@localhost", "O Romeo, Romeo!")
    await hear(tab, "juliet@localhost", "O Romeo, Romeo!")
    await say(tab, "Shall I hear more?")
    assert (await juliet.hear())["body"] == "Shall I hear more?"
    assert await tab.run(f"[...document.querySelectorAll('{BODY}')].map(each => each.textContent.trim())") == [
        "But, soft! what light", "Ay me!", "She speaks", "O Romeo, Romeo!", "Shall I hear more?",
    ]  # fmt: skip
    await shot(tab, "6-after-restart")


async def join(person: Person, room: str) -> None:
    """As soon as its owner has opened it."""
    async with asyncio.timeout(WITHIN):
        while True:
            try:
                await person.plugin["xep_0045"].join_muc_wait(JID(room), "Juliet", timeout=WITHIN)
                return
            except PresenceError:
                await asyncio.sleep(0.05)


async def test_a_room(site: Site, tab: Tab) -> None:
    juliet = await site.juliet()
    await site.server.account("romeo")
    await sign_in(tab, site.address, "romeo")
    await tab.click("#chatrooms .dropdown button, converse-rooms-list .btn-group button")
    await tab.click("a.show-add-muc-modal")
    await tab.type("form.add-chatroom input[name=chatroom]", "orchard")
    await shot(tab, "7-join")
    await tab.click("form.add-chatroom input[type=submit]")
    await tab.shows("converse-muc textarea.chat-textarea")
    await join(juliet, "orchard@conference.localhost")
    juliet.say("orchard@conference.localhost", "Good even to you all", "groupchat")
    await tab.shows(BODY, "Good even to you all")
    await say(tab, "I take thee at thy word")
    while (heard := await juliet.hear())["from"].resource == "Juliet":  # her own comes back to her
        pass
    assert (heard["body"], heard["from"].bare) == ("I take thee at thy word", "orchard@conference.localhost")
    await shot(tab, "8-room")
    await reload(tab, "I take thee at thy word")
    await tab.shows("converse-muc textarea.chat-textarea")
    await tab.shows(BODY, "I take thee at thy word")
    juliet.say("orchard@conference.localhost", "Sweet, good night", "groupchat")
    await tab.shows(BODY, "Sweet, good night")


async def test_pictures(site: Site, tab: Tab, tmp_path: Path) -> None:
    """Both ways they are seen; that on another server is a link, and nobody asks there for it."""
    juliet = await site.juliet()
    await site.server.account("romeo")
    await sign_in(tab, site.address, "romeo")
    await add_contact(tab, "juliet@localhost")
    await open_chat(tab, "juliet@localhost")
    await eventually(lambda: juliet.sees("romeo@localhost"), "Juliet sees Romeo")
    juliet.say("romeo@localhost", "Send me a rose")
    await hear(tab, "juliet@localhost", "Send me a rose")  # what is around the field for the file is drawn anew before
    rose = tmp_path / "rose.png"
    rose.write_bytes(png((200, 30, 60)))
    await tab.choose_file("input.fileupload", rose)
    address = (await juliet.hear())["body"]
    async with aiohttp.ClientSession() as http, http.get(address) as answer:
        assert (answer.content_type, await answer.read()) == ("image/png", rose.read_bytes())
    await tab.until(seen(address))

    leaf = tmp_path / "leaf.png"
    leaf.write_bytes(png((30, 120, 40)))
    slot = await juliet.plugin["xep_0363"].request_slot(
        JID("upload.localhost"), "leaf.png", leaf.stat().st_size, "image/png", timeout=WITHIN
    )
    put, address = slot["http_upload_slot"]["put"]["url"], slot["http_upload_slot"]["get"]["url"]
    trusting = ssl.create_default_context(cafile=str(site.server.certificate))
    type = {"Content-Type": "image/png"}
    async with (
        aiohttp.ClientSession() as http,
        http.put(put, data=leaf.read_bytes(), headers=type, ssl=trusting) as answer,
    ):
        assert answer.status == 201
    juliet.say("romeo@localhost", address)
    await tab.until(seen(address))
    juliet.say("romeo@localhost", "https://pictures.example/thorn.png")
    await tab.shows(f"{BODY} a[href='https://pictures.example/thorn.png']", "pictures.example")
    await shot(tab, "9-pictures")
    await reload(tab, "https://pictures.example/thorn.png")
    await tab.until(seen(address))


def seen(address: str) -> str:
    """True when that picture is loaded and shown."""
    return (
        f"[...document.querySelectorAll('.chat-msg img')].some(each => each.src === {json.dumps(address)} && "
        "each.complete && each.naturalWidth === 240 && each.checkVisibility())"
    )


async def test_over_https(site: Site, tab: Tab) -> None:
    juliet = await site.juliet()
    await site.server.account("romeo")
    await sign_in(tab, site.https, "romeo")
    assert f"{site.https.replace('https', 'wss')}xmpp-websocket" in tab.requests
    romeo = await tab.run("window.isSecureContext && location.protocol")
    assert romeo == "https:"
    juliet.say("romeo@localhost", "Wherefore art thou?")
    await open_chat(tab, "juliet@localhost")
    await hear(tab, "juliet@localhost", "Wherefore art thou?")


async def test_without_a_websocket_it_is_bosh(site: Site, tab: Tab) -> None:
    """As behind a proxy that lets no WebSocket through."""
    juliet = await site.juliet()
    await site.server.account("romeo")
    await tab.call("Page.addScriptToEvaluateOnNewDocument", source="delete window.WebSocket")
    await sign_in(tab, site.address, "romeo")
    assert f"{site.address}http-bind" in tab.requests
    juliet.say("romeo@localhost", "Wherefore art thou?")
    await open_chat(tab, "juliet@localhost")
    await hear(tab, "juliet@localhost", "Wherefore art thou?")
    await say(tab, "Call me but love")
    assert (await juliet.hear())["body"] == "Call me but love"


async def test_files_are_compressed_and_kept(site: Site, tab: Tab) -> None:
    await tab.go(site.address)
    await tab.shows("converse-brand-logo", "Verona")
    script = next(each for each in tab.answers if each.endswith("/converse.min.js"))
    assert tab.answers[script]["headers"]["Content-Encoding"] == "gzip"
    first = len(tab.requests)
    tab.answers.clear()
    await tab.reload()
    await tab.shows("converse-brand-logo", "Verona")
    kept = [each for each in tab.requests[first:] if "/web/" in each]
    assert script in kept
    assert {each for each in kept if tab.answers[each]["fromDiskCache"]} | tab.from_memory >= set(kept)
