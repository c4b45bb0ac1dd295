"""The cases by name. Each is a coroutine that drives a running server and reports figures."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ..bench import Bench
from . import (
    archive,
    federation,
    federation_idle,
    files,
    idle,
    inbox,
    message,
    muc,
    offline,
    personal,
    sign_in,
    storm,
    websocket,
)


@dataclass(frozen=True, slots=True)
class Case:
    """`accounts`: how many the server must have. `lean`: memory is measured. `peers`: other servers have it, too.
    `domains`: so many servers that talk to other servers, 0: one that does not."""

    run: Callable[[Bench], Awaitable[None]]
    accounts: int
    text: str
    lean: bool = False
    peers: bool = True
    domains: int = 0


CASES = {
    "message": Case(message.run, message.ACCOUNTS, "one-to-one messages, 50 pairs, at saturation"),
    "steady": Case(message.run_steady, message.ACCOUNTS, "the same at 2,000 messages a second, with latency"),
    "muc": Case(muc.run, muc.ACCOUNTS, "messages to a room of 200"),
    "archive": Case(archive.run, archive.ACCOUNTS, "pages of 100 from an archive of 20,000 messages"),
    "inbox": Case(inbox.run, inbox.ACCOUNTS, "the list of 200 conversations"),
    "personal": Case(personal.run, personal.ACCOUNTS, "presence and publications to 100 contacts"),
    "sign_in": Case(sign_in.run, 2 * sign_in.ACCOUNTS, "TLS, SCRAM-SHA-256, binding"),
    "storm": Case(storm.run, storm.ACCOUNTS, "10,000 clients come back at once, while others chat", peers=False),
    "offline": Case(offline.run, offline.ACCOUNTS, "messages to people who are not signed in"),
    "upload": Case(
        files.run_upload,
        files.ACCOUNTS,
        "100 MB put, beside a bare aiohttp handler; 1 GB; others that stand still",
        peers=False,
    ),
    "download": Case(
        files.run_download, files.ACCOUNTS, "100 MB fetched, beside a bare aiohttp handler; 1,000 at once", peers=False
    ),
    "idle": Case(idle.run, idle.ACCOUNTS, "memory of a signed-in session over TLS that does nothing", lean=True),
    "websocket": Case(
        websocket.run, websocket.ACCOUNTS, "one-to-one messages over TCP and over WebSocket, 25 pairs each", peers=False
    ),
    "websocket_idle": Case(
        websocket.run_idle,
        websocket.IDLE_ACCOUNTS,
        "memory of a session over TLS that does nothing, over TCP and over WebSocket",
        lean=True,
        peers=False,
    ),
    "federation": Case(
        federation.run, federation.ACCOUNTS, "messages to another server, beside messages on one", domains=2
    ),
    "federation_muc": Case(
        federation.run_room, federation.OCCUPANTS, "messages to a room of 200 who are all at another domain", domains=2
    ),
    "federation_idle": Case(
        federation_idle.run,
        1,
        "memory of a stream of another server, and to one, that does nothing",
        lean=True,
        domains=1,
    ),
    "federation_unused": Case(
        federation_idle.run_unused,
        1,
        "a server that may talk to others, and does not, beside one that may not",
        lean=True,
        peers=False,
        domains=1,
    ),
}
