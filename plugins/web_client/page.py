"""The page, what it may load, and how Converse.js is set up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final
from urllib.parse import urlsplit

from xmppd.contracts.web_client import PageScript

FILES: Final = "/web"
"""Where the files of the client are: below it their version, and below that their names."""
SETTINGS: Final = "/web-client.js"
STYLE: Final = "/web-client.css"
ICON: Final = "/web-client.svg"
PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" type="image/svg+xml" href="{icon}">
<link rel="stylesheet" href="{files}/converse.min.css">
<link rel="stylesheet" href="{style}">
</head>
<body class="converse-fullscreen">
<noscript>This page is a chat program and needs JavaScript.</noscript>
<div id="conversejs-bg"></div>
<script type="module" src="{files}/converse.min.js"></script>
{scripts}<script type="module" src="{settings}"></script>
</body>
</html>
"""
NOT_BUILT: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" type="image/svg+xml" href="{icon}">
<link rel="stylesheet" href="{style}">
</head>
<body>
<main>
<h1>{title}</h1>
<p>This is a chat server. Its web client is not there yet: <code>make web</code> brings it (that needs npm).
Start the server again after that.</p>
<p>Any other XMPP client works without it.</p>
</main>
</body>
</html>
"""
STYLE_TEXT: Final = """:root { color-scheme: light dark }
main { max-width: 38rem; margin: 0 auto; padding: 1.5rem 1rem; font: 1.05rem/1.5 system-ui, sans-serif }
.controlbox-pane > converse-brand-logo { display: block; margin: auto 0 0 !important; padding: 2rem 0 !important }
converse-brand-logo { text-align: center; font-size: 2rem }
converse-brand-logo img { width: 4rem; height: 4rem; display: block; margin: 0 auto .75rem }
.controlbox-pane > converse-footer { display: block; margin: auto 0 0 !important; padding-top: 1rem }
converse-footer { text-align: center; font-size: .85rem }
"""
ICON_TEXT: Final = """<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64" viewBox="0 0 64 64">
<path fill="#0b5cad" d="M12 6h40a8 8 0 0 1 8 8v26a8 8 0 0 1-8 8H30L16 60V48h-4a8 8 0 0 1-8-8V14a8 8 0 0 1 8-8z"/>
<g fill="#fff"><circle cx="20" cy="27" r="4"/><circle cx="32" cy="27" r="4"/><circle cx="44" cy="27" r="4"/></g>
</svg>
"""

SCRIPT: Final = """converse.plugins.add("xmppd", {{
  initialize() {{
    const {{ api }} = this._converse;
    const {{ elements }} = api;
    // The first page is this server's, and loads nothing from elsewhere.
    elements.define("converse-brand-logo", class extends HTMLElement {{
      connectedCallback() {{
        const icon = Object.assign(document.createElement("img"), {{ src: "{icon}", alt: "" }});
        this.replaceChildren(icon, {title});
      }}
    }});
    elements.define("converse-controlbox-navbar", class extends HTMLElement {{}});
    elements.define("converse-footer", class extends HTMLElement {{
      connectedCallback() {{
        const link = document.createElement("a");
        Object.assign(link, {{ href: "https://conversejs.org/", target: "_blank", rel: "noopener" }});
        link.append("Converse.js");
        this.replaceChildren("Made with ", link);
      }}
    }});
    // Who has just made an account signs in as everybody does: otherwise the page forgets them when it is loaded again.
    elements.define("converse-registration-form", class extends elements.registry["converse-registration-form"] {{
      onConnectStatusChanged(status, message) {{
        const {{ username, password }} = this.fields;
        const done = status === converse.env.Strophe.Status.REGISTERED && username && password;
        const jid = `${{username}}@${{this.domain}}`.toLowerCase();
        if (done) delete this.fields.password;
        super.onConnectStatusChanged(status, message);
        if (done && {waits}) {{
          api.alert("info", "Your account is there", ["An administrator has to let you in before you can sign in."]);
        }} else if (done) {{
          api.user.login(jid, password);
        }}
      }}
    }});
  }},
}});
converse.initialize({options});
"""


@dataclass(frozen=True, slots=True)
class Here:
    """Where a page comes from, and what it is told. `named`: host and port as the browser names them; `uploads`: the
    addresses under which uploaded files are; `rooms`: the domain of rooms, "" for none; `registration`:
    everybody may make an account; `waits`: and an administrator has to let them in; `scripts`: of other plugins."""

    domain: str
    named: str
    secure: bool
    uploads: Sequence[str] = ()
    media_from: Sequence[str] = ()
    rooms: str = ""
    registration: bool = False
    waits: bool = False
    scripts: Sequence[PageScript] = ()

    @property
    def origin(self) -> str:
        return f"{'https' if self.secure else 'http'}://{self.named}"

    @property
    def web_socket(self) -> str:
        return self.origin.replace("http", "ws", 1)

    @property
    def media(self) -> list[str]:
        """Other origins that may show something in a message."""
        return [*self.other_uploads, *self.media_from]

    @property
    def other_uploads(self) -> list[str]:
        return [each for each in self.uploads if each != self.origin]


def page(title: str, version: str, scripts: Sequence[PageScript] = ()) -> str:
    """`version`: of the files; "": they are not there."""
    text = PAGE if version else NOT_BUILT
    more = "".join(f'<script type="module" src="{escape(each.path)}"></script>\n' for each in scripts)
    return text.format(
        title=escape(title), files=f"{FILES}/{version}", scripts=more, settings=SETTINGS, style=STYLE, icon=ICON
    )


def headers(here: Here) -> dict[str, str]:
    """What the page may load: its own files; what is uploaded; media from where the operator allows. It connects to
    here, and to where files are uploaded."""
    media = "".join(f" {each}" for each in here.media)
    uploads = "".join(f" {each}" for each in here.other_uploads)
    policy = {
        "default-src": "'none'",
        "script-src": "'self' 'wasm-unsafe-eval'",  # OMEMO's arithmetic is WebAssembly
        "style-src": "'self' 'unsafe-inline'",  # its components bring <style> elements
        "font-src": "'self'",
        "img-src": f"'self' data: blob:{media}",  # avatars are data:, what was encrypted is blob:
        "media-src": f"'self' blob:{media}",
        "connect-src": f"'self' {here.web_socket}{uploads} {'' if not here.media_from else ' '.join(here.media_from)}",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value.strip()}" for name, value in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-cache",
    }


def settings(here: Here, title: str, version: str) -> str:
    """The script that starts Converse.js. It connects to where the page came from."""
    told = {"title": title, "waits": here.waits}
    words = {name: json.dumps(value) for name, value in told.items()}
    return SCRIPT.format(icon=ICON, options=json.dumps(_options(here, version), indent=1), **words)


def _options(here: Here, version: str) -> dict[str, Any]:
    files = f"{FILES}/{version}/"
    options: dict[str, Any] = {
        "view_mode": "fullscreen",
        "authentication": "login",
        "default_domain": here.domain,
        "locked_domain": here.domain,
        "discover_connection_methods": False,
        "websocket_url": f"{here.web_socket}/xmpp-websocket",
        "bosh_service_url": f"{here.origin}/http-bind",
        "assets_path": files,
        "sounds_path": f"{files}sounds/",
        "auto_reconnect": True,
        "show_client_info": False,
        "allow_registration": here.registration,
        "registration_domain": here.domain,
        "whitelisted_plugins": ["xmppd", *(each.plugin for each in here.scripts)],
        "message_archiving": "always",
        "muc_domain": here.rooms,
        "muc_nickname_from_jid": True,
        "xmpp_providers_url": "",  # lists of other servers, from elsewhere
        "autocomplete_providers_url": "",
        "muc_search_service": here.rooms or here.domain,  # in place of a service elsewhere that is told what is typed
        "play_sounds": False,
        "embed_3rd_party_media_players": False,
    }
    if not any(each.endswith(":") or "*" in each for each in here.media_from):
        domains = sorted({str(urlsplit(each).hostname) for each in (here.origin, *here.media)})
        options |= {f"allowed_{kind}_domains": domains for kind in ("image", "audio", "video")}
    return options
