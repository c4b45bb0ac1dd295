"""What must hold of the log and the preferences of an account (`xmppd store check`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from xmppd.contracts.archive import LOG, STORED_TYPES
from xmppd.contracts.store_check import AccountCheck, in_log
from xmppd.errors import MalformedJid
from xmppd.jid import JID
from xmppd.stanza import Kind, Stanza, look_at
from xmppd.storage.api import Entry, Flags, Log

from .preferences import DEFAULTS, Preferences

FLAGS: Final = (0, Flags.INCOMING, Flags.INCOMING | Flags.HIDDEN)
"""Of sent, received and transient messages."""


async def check_log(account: AccountCheck, log: Log, domain: str) -> None:
    """Each entry is a message that is stored, and lies where it says. `domain`: the host's. Raises
    StorageUnavailable."""
    owner, store = account.bare, account.store
    async for entry in store.entries(log, owner):
        for what in entry_problems(owner, domain, entry):
            store.problem(owner, in_log(LOG, entry.id), what)
        if store.is_future(entry.id):
            store.problem(owner, in_log(LOG, entry.id), "it is from the future")


def entry_problems(owner: str, domain: str, entry: Entry) -> Iterator[str]:
    try:
        stanza = look_at(entry.body)
    except ValueError as error:
        yield f"it is no stanza: {error}"
        return
    refusal = stanza.type == "error" and entry.flags == Flags.INCOMING | Flags.HIDDEN  # between two homes
    if stanza.kind is not Kind.MESSAGE or (stanza.type not in STORED_TYPES and not refusal):
        yield f"it is no message that is stored, but of type {stanza.type!r}"
        return
    if entry.flags not in FLAGS:
        yield f"its flags, {entry.flags}, say neither sent nor received"
    incoming = bool(entry.flags & Flags.INCOMING)
    sender, to = _sender(stanza, domain), stanza.to
    peer, own = (sender, to) if incoming else (to, sender)
    if peer is None or (peer.bare, peer.resource) != (entry.peer, entry.resource):
        is_of = f"{entry.peer}/{entry.resource}" if entry.resource else entry.peer
        yield f"it is listed as {'from' if incoming else 'to'} {is_of}, and is {'from' if incoming else 'to'} {peer}"
    if own is None or own.bare != owner:
        yield f"it is {'to' if incoming else 'from'} somebody else, {own}"


def _sender(stanza: Stanza, domain: str) -> JID | None:
    """Without a sender it is from the server."""
    try:
        return JID.parse(stanza.claimed or domain)
    except MalformedJid:
        return None


def preferences_problems(preferences: Preferences) -> Iterator[str]:
    if preferences.default not in DEFAULTS:
        yield f"the default is none: {preferences.default!r}"
    for text in (*preferences.always, *preferences.never):
        try:
            JID.parse(text)
        except MalformedJid:
            yield f"{text!r} is no address"
