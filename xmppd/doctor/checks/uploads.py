"""Sharing files: a slot is asked for and not filled, since nobody could delete the file again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..http import HttpError, preflight
from ..model import Category, Level, Verdict, failed, passed
from ..names import is_local
from ..registry import at, check
from ..trees import Info
from ..visit import Visit, services

UPLOAD = "urn:xmpp:http:upload:0"
ORIGIN = "https://doctor.invalid"
SIZE = 16


@dataclass(frozen=True)
class Slot:
    """`problem`: why there is none."""

    service: str = ""
    largest: str = ""
    put: str = ""
    get: str = ""
    problem: str = ""


def largest(found: Info) -> str:
    """What the service takes (section 4)."""
    return next(iter(found.forms.get(UPLOAD, {}).get("max-file-size", [])), "")


def judge_slot(slot: Slot) -> Verdict:
    if slot.problem:
        return failed(slot.problem)
    for url in (slot.put, slot.get):
        parts = urlsplit(url)
        if parts.scheme != "https" and not is_local(parts.hostname or ""):
            return failed(f"not an address with https: {url or 'none'}")
    limit = f"files up to {int(slot.largest):,} bytes" if slot.largest.isdigit() else "no limit is told"
    return passed(f"{slot.service}, {limit}")


def judge_cors(headers: Mapping[str, str]) -> Verdict:
    """Whether a web client of another origin may upload: the answer to OPTIONS. Names of headers in lower case."""
    origin = headers.get("access-control-allow-origin", "")
    if origin not in ("*", ORIGIN):
        return failed(f"Access-Control-Allow-Origin is {origin or 'not sent'}")
    for header, wanted in (("methods", "put"), ("headers", "content-type")):
        allowed = headers.get(f"access-control-allow-{header}", "")
        if not {wanted, "*"} & {each.strip().lower() for each in allowed.split(",")}:
            return failed(f"Access-Control-Allow-{header.capitalize()} does not name {wanted}")
    return passed("any web page may upload")


async def slot(visit: Visit) -> Slot:
    """One for a small text."""
    service = await visit.with_feature(UPLOAD)
    if not service:
        return Slot(problem="no service for uploads was found (disco#items of the domain)")
    size = largest((await visit.once(services))[service])
    found = await visit.get(
        f"<request xmlns='{UPLOAD}' filename='xmppd-doctor.txt' size='{SIZE}' content-type='text/plain'/>", service
    )
    put, get = (found.find(f"{{{UPLOAD}}}{name}") for name in ("put", "get"))
    if put is None or get is None:
        return Slot(service, size, problem="the slot has no addresses")
    return Slot(service, size, put.get("url", ""), get.get("url", ""))


@check(
    "upload", "Sharing files", at(Category.IM, Level.CORE), sources="XEP-0363", tester=True,
    mend="Enable HTTP uploads (XEP-0363), as a service of the domain.",
)  # fmt: skip
async def upload(visit: Visit) -> Verdict:
    return judge_slot(await visit.once(slot))


@check(
    "upload-cors", "Sharing files from web clients", at(Category.IM), sources="XEP-0363", tester=True,
    mend="Let the upload service answer OPTIONS with Access-Control-Allow-Origin, -Methods and -Headers (section 9).",
)  # fmt: skip
async def cors(visit: Visit) -> Verdict:
    found = await visit.once(slot)
    if found.problem:
        return failed(found.problem)
    try:
        return judge_cors(await preflight(visit, found.put, ORIGIN))
    except HttpError as error:
        return failed(str(error))
