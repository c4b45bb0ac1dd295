"""What an invitation looks like: its XMPP URI (RFC 5122, XEP-0401, XEP-0379)."""

from __future__ import annotations

from urllib.parse import quote

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
