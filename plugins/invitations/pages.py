"""The pages that a link leads to (XEP-0379 section 3.3, XEP-0401 section 4.2). Plain HTML without scripts.

The address of a page is a secret: nothing is fetched from elsewhere, no other page is told of it, no cache keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Final

from xmppd.contracts.http import page_headers
from xmppd.plugin import HttpResponse
from xmppd.xep.qr_code import qr_svg

from .book import Invitation
from .clients import CLIENTS, platforms, url

STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1f24; --ground: #f6f7f9; --card: #fff; --accent: #0b5cad; --line: #c7ccd3 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaed; --ground: #15181c; --card: #1f2329; --accent: #7ab7f5; --line: #454b54 }
}
* { box-sizing: border-box }
body { margin: 0; background: var(--ground); color: var(--ink); font: 1.05rem/1.5 system-ui, sans-serif }
main { max-width: 38rem; margin: 0 auto; padding: 1.5rem 1rem 3rem }
section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem; margin: 1rem 0 }
h1 { font-size: 1.6rem; overflow-wrap: anywhere } h2 { font-size: 1.15rem; margin-top: 0 } h3 { font-size: 1rem }
a { color: var(--accent) } code { overflow-wrap: anywhere }
label { display: block; margin: .6rem 0 .2rem }
input { width: 100%; font: inherit; padding: .5rem; border: 1px solid var(--line); border-radius: .3rem }
.name { display: flex; flex-wrap: wrap; align-items: center; gap: .4rem }
.name input { flex: 1 1 10rem; width: auto; min-width: 0 } .name span { overflow-wrap: anywhere; max-width: 100% }
.button { display: inline-block; width: auto; margin-top: 1rem; padding: .6rem 1.2rem; border: 0; border-radius: .4rem;
  background: #0b5cad; color: #fff; font: inherit; font-weight: 600; text-decoration: none; cursor: pointer }
p .button { margin-top: 0 }
.error { border: 2px solid #c62828; border-radius: .4rem; padding: .6rem }
.code { background: #fff; padding: .5rem; display: inline-block; border-radius: .4rem }
svg { display: block; max-width: 100% }
"""
HEADERS: Final = page_headers(STYLE)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a page shows of an invitation. `uri`: for clients; `page`: its own address, "" if that is not known;
    `form`: one can register here; `web_client`: the address of a page to chat on, "" for none."""

    invitation: Invitation
    domain: str
    uri: str
    page: str
    form: bool
    user_agent: str = ""
    web_client: str = ""


def invitation_page(offer: Offer, status: int = 200, error: str = "", name: str = "") -> HttpResponse:
    """The page of an invitation that is good. `error`: what was wrong with the form; `name`: as it was typed."""
    inviter, domain = escape(offer.invitation.inviter), escape(offer.domain)
    if inviter:
        title = f"{inviter} invites you to chat"
        lead = f"Become a contact of <strong>{inviter}</strong>"
        lead += f", with an account of yours or a new one at {domain}." if offer.invitation.registers else "."
    else:
        title = f"You are invited to {domain}"
        lead = f"With this invitation you can have a chat account at <strong>{domain}</strong>."
    parts = [_section("Open it in your chat app", _open(offer)), _section("No app yet?", _apps(offer))]
    if offer.form:
        parts.insert(0 if error else 2, _form(offer, error, name))  # who was there before must not look for it
    return _page(status, title, "".join((f"<h1>{title}</h1><p>{lead}</p>", *parts)))


def welcome_page(address: str, user_agent: str, web_client: str = "") -> HttpResponse:
    """The account is there."""
    text = (
        f"<h1>Welcome!</h1><p>Your account is <strong>{escape(address)}</strong>. Sign in to it with this address and "
        "your password; nobody but you knows the password.</p>"
    )
    if web_client:
        link = f'<a class="button" href="{escape(web_client)}">Chat in the browser</a>'
        text += _section("Begin here", f"<p>Nothing to install: sign in on the next page.</p><p>{link}</p>")
    apps = f"<p>Install one of these, and sign in.</p>{_clients(user_agent, '')}"
    return _page(200, "Welcome", text + _section("Or get an app" if web_client else "Get an app", apps))


def failure_page(status: int, text: str) -> HttpResponse:
    """What cannot be shown, and why."""
    return _page(status, "Invitation", f"<h1>Sorry</h1><p>{escape(text)}</p>")


def _open(offer: Offer) -> str:
    found = f'<p><a class="button" href="{escape(offer.uri)}">Open the invitation</a></p>'
    if offer.page:
        found += (
            "<p>To go on with your phone, scan this code with its camera:</p>"
            f'<div class="code" role="img" aria-label="QR code of the address of this page">{qr_svg(offer.page)}</div>'
        )
    return found


def _apps(offer: Offer) -> str:
    text = "<p>Install one of these, then come back to this page and open the invitation.</p>"
    return text + _clients(offer.user_agent, offer.uri)


def _clients(user_agent: str, uri: str) -> str:
    """A list for each platform, that of the visitor open. `uri`: what a shop hands to the client."""
    text = ""
    for number, platform in enumerate(platforms(user_agent)):
        items = "".join(
            f'<li><a rel="noreferrer" href="{escape(url(each, uri))}">{escape(each.name)}</a> '
            f"({escape(each.where)})</li>"
            for each in CLIENTS[platform]
        )
        opened = " open" if number == 0 else ""
        text += f"<details{opened}><summary>{escape(platform)}</summary><ul>{items}</ul></details>"
    return text


def _form(offer: Offer, error: str, name: str) -> str:
    fixed = offer.invitation.username
    complaint = f'<p class="error" role="alert" id="error">{escape(error)}</p>' if error else ""
    then = "<p>Then chat in the browser; an app can come later.</p>" if offer.web_client else ""
    described = ' aria-describedby="error"' if error else ""
    field = f'value="{escape(fixed or name)}"{" readonly" if fixed else ""}{described}'
    return _section(
        "Or make your account here",
        f'{complaint}{then}<form method="post"><label for="username">Name</label><div class="name">'
        f'<input id="username" name="username" required maxlength="64" autocomplete="username" autocapitalize="none" '
        f'spellcheck="false" {field}><span>@{escape(offer.domain)}</span></div>'
        '<label for="password">Password</label><input id="password" name="password" type="password" required '
        'maxlength="256" autocomplete="new-password"><label for="again">The same password again</label>'
        '<input id="again" name="again" type="password" required maxlength="256" autocomplete="new-password">'
        '<button class="button">Make the account</button></form>',
    )


def _section(title: str, inside: str) -> str:
    return f"<section><h2>{title}</h2>{inside}</section>"


def _page(status: int, title: str, inside: str) -> HttpResponse:
    html = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width, initial-scale=1"><title>{title}</title><style>{STYLE}</style></head>'
        f"<body><main>{inside}</main></body></html>"
    )
    return HttpResponse(status, html.encode(), "text/html; charset=utf-8", HEADERS)
