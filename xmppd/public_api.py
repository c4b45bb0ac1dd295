"""What a plugin may import: the whole list. `make lint` refuses every other import of `xmppd` in plugins, and
docs/reference/plugin-api.md is made from it.

What is not here may change from one release to the next.
"""

from __future__ import annotations

from typing import Final

ALL: Final = ()
"""Every name of the module without an underscore in front."""

MODULES: Final[dict[str, tuple[str, ...]]] = {
    # what a plugin is
    "xmppd.plugin": ALL,
    "xmppd.hooks": ("Chain", "Collect", "Hook", "Notify", "Stage", "Verdict", "on"),
    "xmppd.service": ALL,
    "xmppd.config": ("Duration", "Size", "Word", "option"),
    # what it works with
    "xmppd.jid": ("JID", "ascii_domain", "prepare_domain", "prepare_local", "prepare_nick"),
    "xmppd.stanza": (
        *("Kind", "Shape", "Stanza", "appended", "embedded", "error_bytes", "iq", "look_at", "message"),
        *("SUBSCRIPTIONS", "parse_stanza", "presence", "stanza_of", "tag"),
    ),
    "xmppd.xml": (
        *("CLIENT_NS", "E", "Element", "LANG", "Written", "XML_NS", "alone", "children", "clean", "escape", "find"),
        *("name_of", "parse", "parse_inside", "quoted", "tag_of", "text_of", "to_bytes", "written"),
    ),
    "xmppd.errors": ALL,
    "xmppd.storage.api": (
        *("DataError", "Entry", "Flags", "Log", "Map", "Note", "Notes", "OwnerDelete", "Range", "Release"),
        *("Storage", "Write", "WriteBehind"),
    ),
    "xmppd.cache": ("BESIDE", "Cache", "content", "weight"),
    "xmppd.clock": ALL,
    "xmppd.background": ("Signal",),
    "xmppd.window_limit": ALL,
    # the core, and hooks and services by subject
    "xmppd.contracts.core": ALL,
    "xmppd.contracts.parts": ALL,
    "xmppd.contracts.requests": ALL,
    "xmppd.contracts.routes": ALL,
    "xmppd.contracts.order": ("Lane",),
    "xmppd.contracts.routing": ALL,
    "xmppd.contracts.sessions": ALL,
    "xmppd.contracts.stream_features": ALL,
    "xmppd.contracts.session_keys": ALL,
    "xmppd.contracts.accounts": ALL,
    "xmppd.contracts.authentication": ALL,
    "xmppd.contracts.admin": ALL,
    "xmppd.contracts.delivery": ALL,
    "xmppd.contracts.link": ALL,
    "xmppd.contracts.http": ALL,
    "xmppd.contracts.archive": ALL,
    "xmppd.contracts.block_lists": ALL,
    "xmppd.contracts.blocking": ALL,
    "xmppd.contracts.caps": ALL,
    "xmppd.contracts.commands": ALL,
    "xmppd.contracts.components": ALL,
    "xmppd.contracts.disco": ALL,
    "xmppd.contracts.expiry": ALL,
    "xmppd.contracts.files": ALL,
    "xmppd.contracts.identity": ALL,
    "xmppd.contracts.inbox": ALL,
    "xmppd.contracts.owners": ALL,
    "xmppd.contracts.messages": ALL,
    "xmppd.contracts.moving": ALL,
    "xmppd.contracts.privacy": ALL,
    "xmppd.contracts.phone": ALL,
    "xmppd.contracts.private": ALL,
    "xmppd.contracts.pubsub": ALL,
    "xmppd.contracts.registration": ALL,
    "xmppd.contracts.resends": ALL,
    "xmppd.contracts.rooms": ALL,
    "xmppd.contracts.roster": ALL,
    "xmppd.contracts.search": ALL,
    "xmppd.contracts.sign_in": ALL,
    "xmppd.contracts.store_check": ALL,
    "xmppd.contracts.vcard": ALL,
    "xmppd.contracts.web_client": ALL,
    "xmppd.protocol.ack_queue": ("WRAP", "HandledTooHigh"),
    # parts of XEPs
    "xmppd.xep.confusables": ALL,
    "xmppd.xep.duplicates": ALL,
    "xmppd.xep.elements": ALL,
    "xmppd.xep.forms": ALL,
    "xmppd.xep.mam": ALL,
    "xmppd.xep.moved_messages": ALL,
    "xmppd.xep.numbers": ALL,
    "xmppd.xep.portable_xml": ALL,
    "xmppd.xep.qr_code": ALL,
    "xmppd.xep.retraction": ALL,
    "xmppd.xep.rsm": ALL,
    "xmppd.xep.speakers": ALL,
    "xmppd.xep.stored_message": ALL,
}
"""Public modules in the order of the reference page, with the names that a plugin may use of them."""
