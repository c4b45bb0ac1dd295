"""Which plugins read the live objects of owners elsewhere on this server, and that no new ones do.

What belongs to an account is decided by its own host. A plugin that wants to know something of somebody on another host
sends a stanza there, as to another server, or gives the router a fan-out whose recipients' hosts decide. What is left
is listed here with its reason; a call that is not listed fails, and so does an entry whose call is gone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PLUGINS: Final = Path(__file__).parent.parent / "plugins"
ROUTES: Final = {"account", "account_named", "session", "open_account", "is_loaded", "service", "host", "hosts"}
"""What the routes answer with live objects of any host."""

ROOM: Final = "Asks the service of the room's host, as its contract says; for a room elsewhere the answer is None."
OCCUPANT: Final = "A room asks the home of an occupant; for one of another server the answer is that nothing is known."
OWN: Final = "The account's own host: callers give accounts of either side of a subscription."
HOME: Final = "Has the home of an occupant load the account, whose block list the room then asks there."

ALLOWED: Final = {
    "block_lists/__init__.py:_publishing:routes.service": "The node service of this server, which is no owner's.",
    "block_lists/__init__.py:_tell:routes.hosts": "Tells the hosts that lists have changed: no owner.",
    "disco.py:services:routes.hosts": "The services of this server (XEP-0030 section 4): reads domains, no owner.",
    "inbox/archive_lookup.py:conversation_of:routes.service": ROOM,
    "web_client/__init__.py:_rooms:routes.hosts": "Names the domain of rooms in the page: reads domains, no owner.",
    "invitations/__init__.py:_room:routes.service": ROOM,
    "invitations/newcomers.py:_lead_in:routes.service": ROOM,
    "moved.py:_statement:routes.service": "Asks the home of the old account, as a contact would.",
    "pubsub/notify.py:greet:routes.service": "Tells the contact's home who has come; the home decides and sends.",
    "push/chats.py:_unchosen:routes.service": ROOM,
    "push/rooms.py:_absent:routes.service": ROOM,
    "muc/duplicates.py:expect_duplicates:routes.service": OCCUPANT,
    "muc/messages_to_room.py:_is_for_local_account:routes.open_account": OCCUPANT,
    "muc/service.py:is_online:routes.session": OCCUPANT,
    "muc/service.py:incarnation:routes.account": OCCUPANT,
    "muc/service.py:account_hosts:routes.hosts": "Lists the hosts, whose deleted accounts leave the rooms.",
    "muc/service.py:find_block_lists:routes.hosts": "Lists the hosts that follow block lists: reads no owner.",
    "muc/blocking.py:is_blocklist_loaded:routes.is_loaded": HOME,
    "muc/blocking.py:load_blocklist:routes.open_account": HOME,
    "muc/blocking.py:_blocks:routes.is_loaded": HOME,
    "muc/blocking.py:_blocks:routes.service": OCCUPANT,
    "presence/subscriptions.py:__init__:account.host.service": OWN,
    "reports.py:_shown:routes.open_account": "Asks since when the name is that account's own: nothing of a former one.",
}


def _calls(tree: ast.AST, function: str = "") -> Iterator[tuple[str, str, int]]:
    """Yields the enclosing function, the call and its line."""
    for node in ast.iter_child_nodes(tree):
        inner = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else function
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            call = _foreign(node.func)
            if call:
                yield function, call, node.lineno
        yield from _calls(node, inner)


def _foreign(func: ast.Attribute) -> str:
    """Returns the call as text if it can reach what is on another host, "" otherwise."""
    target = func.value
    last = target.attr if isinstance(target, ast.Attribute) else target.id if isinstance(target, ast.Name) else ""
    if last == "routes" and func.attr in ROUTES:
        return f"routes.{func.attr}"
    if last == "accounts" and func.attr == "get" and "host" in ast.unparse(target).replace("home", "host"):
        return "accounts.get"
    if (
        last == "host"
        and func.attr in ("find", "service", "account")
        and not ast.unparse(target).startswith(("self.", "host", "plugin.", "service."))
    ):
        return f"{ast.unparse(target)}.{func.attr}"
    return ""


def _found(folder: Path = PLUGINS) -> dict[str, int]:
    return {
        f"{path.relative_to(folder).as_posix()}:{function}:{call}": line
        for path in sorted(folder.rglob("*.py"))
        for function, call, line in _calls(ast.parse(path.read_text()))
    }


def test_no_plugin_reads_what_has_its_home_elsewhere() -> None:
    found = _found()
    new = {f"{key} (line {line})" for key, line in found.items() if key not in ALLOWED}
    assert not new, "send a stanza, or use a fan-out of the router"


def test_nothing_is_allowed_that_is_gone() -> None:
    assert not ALLOWED.keys() - _found().keys()


def test_the_check_sees_each_way(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(
        "class Bad:\n"
        "    def look(self, jid, account):\n"
        "        self.host.router.routes.open_account(jid)\n"
        "        routes = self.host.router.routes\n"
        "        routes.service(jid.domain, KEY)\n"
        "        self.host.accounts.get(jid.bare)\n"
        "        account.host.find(KEY)\n"
        "        self.host.find(KEY)\n"
    )
    assert {key.rpartition(":")[2] for key in _found(tmp_path)} == {
        "routes.open_account",
        "routes.service",
        "accounts.get",
        "account.host.find",
    }
