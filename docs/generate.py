"""Writes what of these pages comes from the code: `python -m docs.generate` (`make docs`).

docs/reference/ (config.md, operations.md, plugin-api.md, xeps.md) and docs/xmppd.doap. `tests/test_docs.py` holds them
to the code.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

from docs import plugin_api
from docs.operations import operations_page
from docs.plugins import built_in
from docs.xep_titles import TITLES
from xmppd.config.doc import render
from xmppd.hosts.loader import Found
from xmppd.plugin import ANY_HOST, NoConfig, Xep

DOCS: Final = Path(__file__).parent
GENERATED: Final = (
    "reference/config.md",
    "reference/operations.md",
    "reference/plugin-api.md",
    "reference/xeps.md",
    "xmppd.doap",
)
"""Below docs/."""


@dataclass(frozen=True, slots=True)
class Rfc:
    """A specification of the IETF: what of it the server does, and where in the code."""

    number: int
    title: str
    where: str
    note: str = ""


RFCS: Final = (
    Rfc(4013, "SASLprep", "`xmppd.protocol.sasl`", "user names and passwords in SASL (ADR 0005)"),
    Rfc(4616, "PLAIN", "`xmppd.protocol.sasl`", "behind TLS, or on a loopback address"),
    Rfc(4511, "LDAP: The Protocol", "`ldap`", "as a client of a directory: bind, search, StartTLS"),
    Rfc(5802, "SCRAM", "`xmppd.protocol.sasl`", "SHA-1, with and without channel binding"),
    Rfc(5929, "Channel Bindings for TLS", "`xmppd.streams.channel_bindings`", "`tls-unique`, `tls-server-end-point`"),
    Rfc(9266, "Channel Bindings for TLS 1.3", "`xmppd.streams.channel_bindings`", "`tls-exporter`"),
    Rfc(6120, "XMPP Core", "`xmppd`"),
    Rfc(6121, "XMPP Instant Messaging and Presence", "`roster`, `presence`"),
    Rfc(
        7590, "Use of TLS in XMPP", "`xmppd.streams.negotiation`", "encryption is required except on a loopback address"
    ),
    Rfc(6238, "TOTP", "`totp`", "SHA-1, six digits, 30 seconds, as XEP-0400 wants it"),
    Rfc(7519, "JSON Web Token", "`oidc`", "access tokens, signed by a key pair"),
    Rfc(7628, "OAUTHBEARER", "`xmppd.protocol.sasl`", "for a source of identity"),
    Rfc(7662, "OAuth 2.0 Token Introspection", "`oidc`", "as a client"),
    Rfc(7622, "XMPP Address Format", "`xmppd.jid`"),
    Rfc(7677, "SCRAM-SHA-256", "`xmppd.protocol.sasl`"),
    Rfc(8266, "Nicknames", "`xmppd.jid`", "to compare them in rooms"),
)
CORE_XEPS: Final = (
    Xep(82, "1.1.1", "date and time in UTC"),
    Xep(114, "1.6", "several connections for a name; without `jabber:component:connect`"),
    Xep(124, "1.11.2", "without multiple streams in a session and content encodings"),
    Xep(178, "1.2", "between servers"),
    Xep(185, "1.0"),
    Xep(198, "1.6.1", "counters, queue and delivery; the protocol is the plugin's; between servers without resuming"),
    Xep(199, "2.0.1", "clients that are silent are asked for a sign of life"),
    Xep(203, "2.0", "messages that waited"),
    Xep(205, "1.0.2", "limits of size, depth, number and time"),
    Xep(206, "1.4"),
    Xep(220, "1.1.1", "several domains of ours on one stream"),
    Xep(288, "1.0.1", "on encrypted streams"),
    Xep(359, "0.7.0", "ids of messages that waited"),
    Xep(368, "1.1.0", "listeners with `tls: direct`, for clients and servers; both kinds of records of other servers"),
    Xep(440, "1.0.0"),
    Xep(474, "0.5.0"),
    Xep(515, "0.1.0"),
)
"""What no plugin declares."""
CORE: Final = "core"
Row = tuple[Xep, str]


def about(found: Found) -> str:
    """What the module says of itself first, and where the plugin runs."""
    module = sys.modules[found.cls.__module__]
    first = " ".join((inspect.getdoc(module) or "").split("\n\n", 1)[0].split())
    types = " and ".join(f"`{each}`" for each in found.cls.serves)
    hosts = "every type" if found.cls.serves == ANY_HOST else f"type {types}"
    standard = "Part of the standard set of" if found.cls.standard else "Not in the standard set; for"
    return f"{first}\n\n{standard} hosts of {hosts}."


def config_page() -> str:
    page = render([(found.name, found.config, about(found)) for found in built_in()])
    return page.replace(f"{inspect.getdoc(NoConfig)}\n\n", "")


def rows() -> list[Row]:
    """Every XEP with who implements it ("core" or the plugin's name), by number. Raises LookupError."""
    found = [(xep, CORE) for xep in CORE_XEPS]
    found += [(xep, plugin.name) for plugin in built_in() for xep in plugin.cls.xeps]
    for xep, where in found:
        if xep.number not in TITLES:
            raise LookupError(f"{where}: XEP-{xep.number:04} has no title in docs/xep_titles.py")
    return sorted(found, key=lambda row: (row[0].number, row[1]))


def xeps_page() -> str:
    lines = [
        "# Specifications",
        "",
        "This page is generated from the code: each plugin declares what it implements (`xeps`), and of which version.",
        "",
        "## XEPs",
        "",
        "| XEP | title | version | plugin | note |",
        "|---|---|---|---|---|",
    ]
    for xep, where in rows():
        number = f"[{xep.number:04}](https://xmpp.org/extensions/xep-{xep.number:04}.html)"
        by = where if where == CORE else f"[`{where}`](config.md#{where})"
        lines.append(f"| {number} | {TITLES[xep.number]} | {xep.version} | {by} | {_cell(xep.note)} |")
    lines += ["", "## RFCs", "", "| RFC | title | where | note |", "|---|---|---|---|"]
    for rfc in RFCS:
        number = f"[{rfc.number}](https://www.rfc-editor.org/rfc/rfc{rfc.number})"
        lines.append(f"| {number} | {rfc.title} | {rfc.where} | {_cell(rfc.note)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def doap() -> str:
    """XEP-0453. `status` is "complete" for what is implemented without a remark, "partial" for the rest."""
    by_number: dict[int, list[Row]] = {}
    for row in rows():
        by_number.setdefault(row[0].number, []).append(row)
    specifications = "\n".join(
        f"    <implements rdf:resource='https://www.rfc-editor.org/info/rfc{rfc.number}'/>" for rfc in RFCS
    )
    extensions = "\n".join(_supported(number, found) for number, found in by_number.items())
    return f"""\
<?xml version='1.0' encoding='UTF-8'?>
<rdf:RDF xmlns='http://usefulinc.com/ns/doap#'
         xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'
         xmlns:xmpp='https://linkmauve.fr/ns/xmpp-doap#'>
  <Project xml:lang='en'>
    <name>xmppd</name>
    <shortdesc>An XMPP chat server in Python</shortdesc>
    <description>An XMPP chat server whose acknowledged messages are on disk.</description>
    <license rdf:resource='https://spdx.org/licenses/Apache-2.0'/>
    <programming-language>Python</programming-language>
    <os>Linux</os>
    <category rdf:resource='https://linkmauve.fr/ns/xmpp-doap#category-server'/>
{specifications}
{extensions}
  </Project>
</rdf:RDF>
"""


def _supported(number: int, found: Iterable[Row]) -> str:
    plugins = [row for row in found if row[1] != CORE] or list(found)
    notes = "; ".join(dict.fromkeys(xep.note.replace("`", "") for xep, _ in plugins if xep.note))
    note = f"\n        <xmpp:note>{escape(notes, quote=False)}</xmpp:note>" if notes else ""
    return f"""\
    <implements>
      <xmpp:SupportedXep>
        <xmpp:xep rdf:resource='https://xmpp.org/extensions/xep-{number:04}.html'/>
        <xmpp:status>{"partial" if notes else "complete"}</xmpp:status>
        <xmpp:version>{escape(plugins[0][0].version)}</xmpp:version>{note}
      </xmpp:SupportedXep>
    </implements>"""


def plugin_api_page() -> str:
    providers: dict[str, list[str]] = {}
    for plugin in built_in():
        for service in plugin.cls.provides:
            providers.setdefault(service.name, []).append(plugin.name)
    return plugin_api.page(providers)


def pages() -> dict[str, str]:
    """What the generated pages have to be, by path below docs/."""
    written = (config_page(), operations_page(), plugin_api_page(), xeps_page(), doap())
    return dict(zip(GENERATED, written, strict=True))


def main() -> int:
    """Write them all."""
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
        print(f"docs/{name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
