"""The page from which people download what the server has of them. Plain HTML, no scripts; its address is a secret."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Final

from xmppd.contracts.http import page_headers
from xmppd.plugin import HttpResponse

STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1f24; --ground: #f6f7f9; --card: #fff; --line: #c7ccd3 }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --ground: #15181c; --card: #1f2329; --line: #454b54 } }
* { box-sizing: border-box }
body { margin: 0; background: var(--ground); color: var(--ink); font: 1.05rem/1.5 system-ui, sans-serif }
main { max-width: 38rem; margin: 0 auto; padding: 1.5rem 1rem 3rem }
section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem; margin: 1rem 0 }
h1 { font-size: 1.6rem; overflow-wrap: anywhere } h2 { font-size: 1.15rem; margin-top: 0 }
button { padding: .6rem 1.2rem; border: 0; border-radius: .4rem; background: #0b5cad; color: #fff; font: inherit;
  font-weight: 600; cursor: pointer }
"""
HEADERS: Final = page_headers(STYLE)
ABOUT: Final[Mapping[str, tuple[str, str]]] = {
    "account.xml": (
        "Everything, to move",
        "Contacts, cards, pictures, bookmarks, blocked addresses and messages, in the format by which chat servers "
        "hand accounts over (XEP-0227). Your password is not in it.",
    ),
    "messages.jsonl": ("Messages, to read and search", "Every message of your archive as a line of text (JSON)."),
}
"""What can be downloaded, by the name of the file."""


def data_page(owner: str, left: frozenset[str], minutes: int) -> HttpResponse:
    """`left`: what was not downloaded yet; `minutes`: so long the page is good."""
    parts = []
    for name, (title, text) in ABOUT.items():
        button = "<p>This was downloaded already. For another copy ask for a new link.</p>"
        if name in left:
            button = (
                f'<form method="post"><input type="hidden" name="file" value="{name}">'
                f"<button>Download {name}</button></form>"
            )
        parts.append(f"<section><h2>{title}</h2><p>{text}</p>{button}</section>")
    lead = f"<p>This page is good for {minutes} more minutes, and each file for one download.</p>"
    return _page(200, "Your data", f"<h1>Your data</h1><p>{escape(owner)}</p>{lead}{''.join(parts)}")


def failure_page(status: int, text: str) -> HttpResponse:
    return _page(status, "Your data", f"<h1>Sorry</h1><p>{escape(text)}</p>")


def _page(status: int, title: str, inside: str) -> HttpResponse:
    whole = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width, initial-scale=1"><title>{escape(title)}</title><style>{STYLE}</style></head>'
        f"<body><main>{inside}</main></body></html>"
    )
    return HttpResponse(status, whole.encode(), "text/html; charset=utf-8", HEADERS)
