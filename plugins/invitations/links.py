"""What an invitation looks like: its XMPP URI (RFC 5122, XEP-0401, XEP-0379), and the picture of a link."""

from __future__ import annotations

import io
from urllib.parse import quote

import segno

from xmppd.plugin import JID

from .book import Invitation


def uri(invitation: Invitation, token: str, domain: str) -> str:
    """The address that a client opens."""
    if invitation.inviter and not invitation.username:
        more = ";ibr=y" if invitation.registers else ""
        return f"xmpp:{_address(JID.parse(invitation.inviter))}?roster;preauth={token}{more}"
    name = f"{_quoted(invitation.username)}@" if invitation.username else ""
    return f"xmpp:{name}{domain}?register;preauth={token}"


def _address(jid: JID) -> str:
    return f"{_quoted(jid.local)}@{jid.domain}"


def _quoted(local: str) -> str:
    """RFC 5122 section 2.2."""
    return quote(local, safe="!$()*+,;=~._-")


def qr_text(link: str) -> str:
    """A QR code of a link, for a terminal: white is drawn, so it is right on a dark ground."""
    out = io.StringIO()
    segno.make(link, error="l", micro=False).terminal(out=out, compact=True)
    return out.getvalue()


def qr_svg(link: str) -> str:
    """A QR code of a link as an SVG element for a page."""
    out = io.BytesIO()
    segno.make(link, error="m", micro=False).save(
        out, kind="svg", scale=5, border=4, xmldecl=False, svgns=True, light="#fff", nl=False
    )
    return out.getvalue().decode()
