"""The Web suite: a stream is opened the way browsers do it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from secrets import randbelow
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

from ..http import HttpError, fetch, post, websocket
from ..model import Category, Level, Verdict, failed, judged, passed
from ..names import is_local
from ..registry import at, check
from ..visit import Visit

SOCKET, BOSH = "urn:xmpp:alt-connections:websocket", "urn:xmpp:alt-connections:xbosh"
FRAMING = "urn:ietf:params:xml:ns:xmpp-framing"
BODY = "http://jabber.org/protocol/httpbind"
XRD = "{http://docs.oasis-open.org/ns/xri/xrd-1.0}"
GUESSES = {SOCKET: ("xmpp-websocket", "ws", "websocket"), BOSH: ("http-bind", "bosh")}
"""Where common servers have them."""
PORTS = (5443, 5281)
Try = Callable[[Visit, str], Awaitable[None]]


def links_xml(data: bytes) -> dict[str, list[str]]:
    """Addresses by relation. Raises HttpError."""
    try:
        found = ET.fromstring(data)
    except ET.ParseError as error:
        raise HttpError(f"host-meta is not XML: {error}") from None
    return _by_relation([(each.get("rel", ""), each.get("href", "")) for each in found.findall(f"{XRD}Link")])


def links_json(data: bytes) -> dict[str, list[str]]:
    """The same of the other form. Raises HttpError."""
    try:
        found = json.loads(data)
        links = [(str(each["rel"]), str(each["href"])) for each in found["links"] if "href" in each]
    except (ValueError, TypeError, KeyError):
        raise HttpError("host-meta.json has no links") from None
    return _by_relation(links)


def _by_relation(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for relation, address in pairs:
        found.setdefault(relation, []).append(address)
    return found


def judge_host_meta(xml: dict[str, list[str]] | str, document: dict[str, list[str]] | str, dead: list[str]) -> Verdict:
    """Both documents, or why they could not be had; `dead`: what does not work of what they name."""
    if isinstance(xml, str) and isinstance(document, str):
        return failed(xml)
    told = {form: links for form, links in (("XML", xml), ("JSON", document)) if not isinstance(links, str)}
    useful = [form for form, links in told.items() if links.get(SOCKET) or links.get(BOSH)]
    if not useful:
        return failed("names neither WebSocket nor BOSH")
    if dead:
        return failed("; ".join(dead), "Let host-meta name addresses that can be reached from outside.")
    return passed(f"as {' and '.join(useful)}")


def _base(visit: Visit) -> str:
    return visit.options.web.rstrip("/") or f"https://{visit.domain}"


def _bases(visit: Visit) -> list[str]:
    """Where host-meta is looked for. On this machine nobody has port 443, and TLS is not needed."""
    usual = [_base(visit)]
    if visit.options.web or not is_local(visit.domain):
        return usual
    return [*usual, f"https://{visit.domain}:5281", f"http://{visit.domain}:5280"]


async def host_meta(visit: Visit) -> tuple[dict[str, list[str]] | str, dict[str, list[str]] | str]:
    """XML and JSON (XEP-0156 section 3), or why not."""

    async def one(name: str, read: Callable[[bytes], dict[str, list[str]]]) -> dict[str, list[str]] | str:
        problems = []
        for base in _bases(visit):
            try:
                return read(await fetch(visit, f"{base}/.well-known/{name}"))
            except HttpError as error:
                problems.append(str(error))
        return problems[0]

    return await one("host-meta", links_xml), await one("host-meta.json", links_json)


async def _named(visit: Visit, relation: str) -> list[str]:
    told = await visit.once(host_meta)
    return list(dict.fromkeys(url for links in told if not isinstance(links, str) for url in links.get(relation, [])))


def guesses(base: str, domain: str, relation: str, alone: bool) -> list[str]:
    """Addresses to try where host-meta is silent. `alone`: no other ports than that of `base`."""
    bases = [base] if alone else [base, *(f"https://{domain}:{port}" for port in PORTS)]
    found = [f"{each}/{path}" for each in bases for path in GUESSES[relation]]
    return [f"ws{url.removeprefix('http')}" for url in found] if relation == SOCKET else found


async def try_socket(visit: Visit, url: str) -> None:
    """RFC 7395: the stream opens. Raises HttpError."""
    hello = f"<open xmlns='{FRAMING}' to={quoteattr(visit.domain)} version='1.0'/>"
    answer = await websocket(visit, url, hello)
    try:
        tag = ET.fromstring(answer).tag
    except ET.ParseError:
        tag = "what is no XML"
    if tag != f"{{{FRAMING}}}open":
        raise HttpError(f"{url}: <open/> was answered with {tag}")


async def try_bosh(visit: Visit, url: str) -> None:
    """XEP-0206: a session begins, and is ended. Raises HttpError."""
    first = randbelow(1 << 40)
    begun = await post(
        visit, url,
        f"<body xmlns='{BODY}' xmlns:xmpp='urn:xmpp:xbosh' xmpp:version='1.0' ver='1.6' rid='{first}' wait='5' "
        f"hold='1' to={quoteattr(visit.domain)} xml:lang='en' content='text/xml; charset=utf-8'/>",
    )  # fmt: skip
    try:
        body = ET.fromstring(begun)
    except ET.ParseError:
        raise HttpError(f"{url}: the answer is not XML") from None
    session = body.get("sid")
    if not session:
        raise HttpError(f"{url}: no session ({body.get('condition', 'the answer has no sid')})")
    await post(visit, url, f"<body xmlns='{BODY}' rid='{first + 1}' sid={quoteattr(session)} type='terminate'/>")


async def _works(visit: Visit, relation: str, attempt: Try) -> Verdict:
    named = await _named(visit, relation)
    alone = bool(visit.options.web)
    tried = named or guesses(_base(visit), visit.domain, relation, alone)

    async def one(url: str) -> str | None:
        try:
            await attempt(visit, url)
        except HttpError as error:
            return str(error)
        return None

    problems = await asyncio.gather(*map(one, tried))
    for url, problem in zip(tried, problems, strict=True):
        if problem is None:
            return passed(url)
    where = "" if named else "host-meta names none, and none was found at the usual addresses: "
    return judged(False, "", f"{where}{problems[0]}")


async def socket_works(visit: Visit) -> Verdict:
    return await _works(visit, SOCKET, try_socket)


async def bosh_works(visit: Visit) -> Verdict:
    return await _works(visit, BOSH, try_bosh)


WEB = at(Category.WEB, Level.CORE)


@check(
    "websocket", "WebSocket", WEB, sources="RFC 7395", before=True,
    mend="Enable XMPP over WebSocket, reachable with https, and name it in host-meta.",
)  # fmt: skip
async def over_socket(visit: Visit) -> Verdict:
    return await visit.once(socket_works)


@check(
    "bosh", "BOSH", WEB, sources="XEP-0206, XEP-0124", before=True,
    mend="Enable BOSH, reachable with https, and name it in host-meta.",
)  # fmt: skip
async def over_bosh(visit: Visit) -> Verdict:
    return await visit.once(bosh_works)


@check(
    "host-meta", "Web clients find the server", at(Category.WEB), sources="XEP-0156", tester=True, before=True,
    mend="Serve https://DOMAIN/.well-known/host-meta and host-meta.json with links to WebSocket and BOSH.",
)  # fmt: skip
async def discovery(visit: Visit) -> Verdict:
    xml, document = await visit.once(host_meta)
    dead = []
    for relation, works in ((SOCKET, socket_works), (BOSH, bosh_works)):
        if await _named(visit, relation):
            verdict = await visit.once(works)
            dead += [verdict.found] if verdict.result == "fail" else []
    return judge_host_meta(xml, document, dead)
