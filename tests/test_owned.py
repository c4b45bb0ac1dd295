"""What is remembered by owner is made by `host.owned`, so that it can be emptied when the owner leaves its home.

A dictionary, set or cache that lives as long as a plugin, and is not made there, is refused, unless it is listed here
with the reason why it may stay when owners come and go.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
FOLDERS: Final = (
    "plugins",
    "xmppd/admin",
    "xmppd/delivery",
    "xmppd/hosts",
    "xmppd/routing",
    "xmppd/sessions",
    "xmppd/xep",
)
MAKERS: Final = {
    *("dict", "set", "defaultdict", "OrderedDict", "Counter", "deque", "Cache", "WindowLimit", "AddressLimit"),
    *("WeakKeyDictionary", "WeakValueDictionary", "WeakSet"),
}
LASTING: Final = {"__init__", "__post_init__", "setup", "start", "reconfigured"}
"""Methods that make what an object has for long."""
ADVICE: Final = (
    "if its keys are owners (bare JIDs of accounts or rooms, or tuples that begin with one), make it by "
    "self.host.owned(…); else list it in ALLOWED, and say what its keys are"
)

HOST: Final = "What the host is made of: handlers, operations, services."
DOMAIN: Final = "The domain's own, which is no account or room: it does not leave without its host."
ADDRESS: Final = "By IP address: of the process that has the connection."
FACT: Final = "Facts that are the same for everybody, bounded."
ACCOUNT: Final = "Lives on what is owned, by the account: it goes with it."
SESSION: Final = "Lives on a session, or is a table of sessions: who has one does not leave."
ROOM: Final = "Lives on the slot of a room, which is owned."
WORK: Final = "Lives as long as one piece of work."
RECORD: Final = "A value that is stored, not a memory."
CURSOR: Final = "By cursor, which goes with its account; what it has to write is written before, or the account stays."

UNDER_WAY: Final = "What is under way: Router.under_way names its owners, who stay."

ALLOWED: Final[dict[str, str]] = {
    "plugins/delegation.py:DelegationPlugin._told": "Namespaces that components have.",
    "plugins/privilege.py:PrivilegePlugin._seen": "Addresses of components and of contacts elsewhere.",
    "plugins/block_lists/__init__.py:BlockListsPlugin.lists": "The lists that the domain follows.",
    "plugins/block_lists/__init__.py:BlockListsPlugin.senders": FACT,
    "plugins/block_lists/followed.py:Followed.entries": "Hashes of addresses elsewhere.",
    "plugins/block_lists/followed.py:Reading.found": WORK,
    "plugins/block_lists/followed.py:Reading.gone": WORK,
    "plugins/block_lists/followed.py:Reading.new": WORK,
    "plugins/client_state.py:Gate.delayed": SESSION,
    "plugins/commands/__init__.py:Commands.runs": "By the id of a run of one device, which ends by itself in minutes.",
    "plugins/commands/steps.py:Run.data": "Lives on a run of a command.",
    "plugins/entity_caps/__init__.py:EntityCaps.known": FACT,
    "plugins/files/__init__.py:Uploads.filling": "Tokens of uploads under way, whose accounts stay (Room.places).",
    "plugins/identity/__init__.py:IdentityPlugin._told": "By source of identities.",
    "plugins/identity/__init__.py:IdentityPlugin.places": ADDRESS,
    "plugins/inbox/account_count.py:AccountCount.before": WORK,
    "plugins/inbox/account_count.py:AccountCount.changed": WORK,
    "plugins/inbox/account_count.py:AccountCount.read_up_to": WORK,
    "plugins/inbox/cache.py:_Account.by_peer": ACCOUNT,
    "plugins/inbox/write_behind.py:WriteBehindBuffer._in_flight": ACCOUNT,
    "plugins/inbox/write_behind.py:WriteBehindBuffer.activities": ACCOUNT,
    "plugins/inbox/write_behind.py:WriteBehindBuffer.counted": ACCOUNT,
    "plugins/ldap/directory.py:Directory._idle": "Connections to a directory.",
    "plugins/ldap/directory.py:Directory._rests": "By the URL of a directory.",
    "plugins/message_rules/policy.py:MessagePolicies._known": FACT,
    "plugins/muc/affiliations.py:AffiliationList._capital": ROOM,
    "plugins/muc/affiliations.py:AffiliationList._folded": ROOM,
    "plugins/muc/affiliations.py:AffiliationList._keys": ROOM,
    "plugins/muc/affiliations.py:AffiliationList._written": ROOM,
    "plugins/muc/model.py:Occupant.sessions": ROOM,
    "plugins/muc/model.py:ServiceSettings.defaults": "The options of the service.",
    "plugins/muc/model.py:StoredRoom.options": RECORD,
    "plugins/muc/nicks.py:_FORMS": FACT,
    "plugins/muc/registry.py:ChangeRate._buckets": ROOM,
    "plugins/muc/registry.py:RoomRegistry.directory": DOMAIN,
    "plugins/muc/registry.py:RoomRegistry.made_by": DOMAIN,
    "plugins/muc/registry.py:RoomSlot.resendable": ROOM,
    "plugins/muc/room.py:RoomState.forwarded_iqs": ROOM,
    "plugins/muc/room.py:RoomState.hats": ROOM,
    "plugins/muc/room.py:RoomState.invitations": ROOM,
    "plugins/muc/room.py:RoomState.kept_roles": ROOM,
    "plugins/muc/room.py:RoomState.occupants": ROOM,
    "plugins/muc/room.py:RoomState.sessions": ROOM,
    "plugins/oidc/issuer.py:Issuer._metadata": "What an issuer says of itself.",
    "plugins/own_data/__init__.py:OwnData.asked": "A rate: how often a link was asked for today.",
    "plugins/own_data/links.py:Links._by_key": "By a hash of the token; _by_owner takes it along.",
    "plugins/phone/codes.py:CodeBook._askers": ADDRESS,
    "plugins/phone/codes.py:CodeBook._blocks": "By block of phone numbers, of people without an account.",
    "plugins/proxy65/relay.py:Relay._streams": ADDRESS,
    "plugins/proxy65/relay.py:Relay._waiting": "By the hash that names a byte stream (XEP-0065).",
    "plugins/proxy65/relay.py:Relay.halves": "Connections of byte streams.",
    "plugins/pubsub/items.py:MANY": "A constant; nothing is put into it.",
    "plugins/pubsub/model.py:Node.affiliations": RECORD,
    "plugins/pubsub/model.py:Node.options": RECORD,
    "plugins/pubsub/model.py:Node.subscriptions": RECORD,
    "plugins/push/rooms.py:RoomNotifications.pending": DOMAIN,
    "plugins/qr_sign_in/waiting.py:WaitingPages._by_code": "Pages of browsers that have not signed in.",
    "plugins/qr_sign_in/waiting.py:WaitingPages._by_place": ADDRESS,
    "plugins/qr_sign_in/waiting.py:WaitingPages._by_secret": "Pages of browsers that have not signed in.",
    "plugins/qr_sign_in/web.py:Requests.asked": ADDRESS,
    "plugins/qr_sign_in/web.py:Requests.fetched": ADDRESS,
    "plugins/register/strangers.py:Strangers.asked": ADDRESS,
    "plugins/register/strangers.py:Strangers.made": ADDRESS,
    "plugins/register/strangers.py:Strangers.tried": ADDRESS,
    "plugins/sasl2.py:Sasl2._steps": FACT,
    "plugins/web_client/files.py:WebFiles.files": "The files of the web client.",
    "xmppd/admin/accounts.py:Accounts.hosts": HOST,
    "xmppd/admin/control.py:Asked.arguments": WORK,
    "xmppd/admin/control.py:ControlServer._connections": "Connections to the control socket.",
    "xmppd/admin/registry.py:Operations._entries": HOST,
    "xmppd/admin/registry.py:_Entry.work": HOST,
    "xmppd/admin/removal.py:Remover.pending": "Jobs of the domains: an account that is being removed is in no memory.",
    "xmppd/delivery/cursor.py:DeliveryCursor.acknowledged": ACCOUNT,
    "xmppd/delivery/cursor.py:DeliveryCursor.in_flight": ACCOUNT,
    "xmppd/delivery/cursor.py:DeliveryCursor.transient": ACCOUNT,
    "xmppd/delivery/cursor_writer.py:CursorWriter._late": CURSOR,
    "xmppd/delivery/cursor_writer.py:CursorWriter._merging": CURSOR,
    "xmppd/delivery/cursor_writer.py:CursorWriter.forgotten": CURSOR,
    "xmppd/delivery/unlogged_queue.py:UnloggedQueue._items": SESSION,
    "xmppd/delivery/unlogged_queue.py:UnloggedQueue.log_ids": SESSION,
    "xmppd/hosts/handlers.py:Handlers._built": HOST,
    "xmppd/hosts/handlers.py:Handlers._chains": HOST,
    "xmppd/hosts/handlers.py:Handlers._iqs": HOST,
    "xmppd/hosts/handlers.py:Handlers._narrowings": HOST,
    "xmppd/hosts/handlers.py:Handlers._nonzas": HOST,
    "xmppd/hosts/handlers.py:Handlers._registered": HOST,
    "xmppd/hosts/host.py:Host._services": HOST,
    "xmppd/hosts/host.py:Host.announced": "What strangers are told before they sign in.",
    "xmppd/hosts/host.py:Host.plugins": HOST,
    "xmppd/hosts/requests.py:HostRequests._open": "By the id of an IQ of the host's own.",
    "xmppd/routing/answer_times.py:AnswerTimes._waiting": "By the time of an answer.",
    "xmppd/routing/locks.py:OwnerLocks._held": UNDER_WAY,
    "xmppd/routing/order.py:OwnOrders.pending": UNDER_WAY,
    "xmppd/routing/order.py:OwnOrders._expected": UNDER_WAY,
    "xmppd/routing/outbox.py:Outbox._lines": UNDER_WAY,
    "xmppd/routing/outbox.py:Outbox._owners": UNDER_WAY,
    "xmppd/routing/outbox.py:_Line.words": UNDER_WAY,
    "xmppd/routing/routes.py:Routes._destinations": HOST,
    "xmppd/routing/routes.py:Routes._hosts": HOST,
    "xmppd/sessions/account.py:Account.sessions": SESSION,
    "xmppd/sessions/account_cache.py:AccountCache._loading": "Reads under way; Host.unload asks for them.",
    "xmppd/sessions/manager.py:SessionManager.detached": SESSION,
    "xmppd/xep/forms.py:Submitted.values": WORK,
    "xmppd/xep/moved_messages.py:_Seconds._read": WORK,
}


def _name(func: ast.expr) -> str:
    return func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""


def _makes(value: ast.expr | None) -> bool:
    """Whether an expression makes a collection that is filled later, outside `owned`."""
    if isinstance(value, ast.Dict | ast.Set):
        return not (value.keys if isinstance(value, ast.Dict) else value.elts)
    if isinstance(value, ast.IfExp):
        return _makes(value.body) or _makes(value.orelse)
    if isinstance(value, ast.BoolOp):
        return any(map(_makes, value.values))
    if not isinstance(value, ast.Call):
        return False
    if _name(value.func) == "field":
        factory = next((each.value for each in value.keywords if each.arg == "default_factory"), None)
        return factory is not None and _name(factory) in MAKERS
    func = value.func.value if isinstance(value.func, ast.Subscript) else value.func
    return _name(func) in MAKERS


def _is_owned(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Call) and _name(value.func) == "owned"


def _assignments(body: list[ast.stmt]) -> Iterator[tuple[ast.expr, ast.expr | None, int]]:
    """Yields target, value and line, of statements that are not in an inner function."""
    for node in body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from _pairs(target, node.value, node.lineno)
        elif isinstance(node, ast.AnnAssign):
            yield node.target, node.value, node.lineno
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for name in ("body", "orelse", "finalbody"):
                yield from _assignments(getattr(node, name, []))


def _pairs(target: ast.expr, value: ast.expr, line: int) -> Iterator[tuple[ast.expr, ast.expr, int]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for each, made in zip(target.elts, value.elts, strict=True):
            yield from _pairs(each, made, line)
    else:
        yield target, value, line


def _of_self(target: ast.expr) -> str:
    """Returns x for `self.x`, "" for anything else."""
    if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self":
        return target.attr
    return ""


def _registered(method: ast.AST) -> set[str]:
    """Returns each x for which a method says `owned(self.x)` or `owned(self.x.times)`."""
    found = set()
    for node in ast.walk(method):
        if isinstance(node, ast.Call) and _is_owned(node) and node.args:
            first = node.args[0]
            found.add(_of_self(first) or (_of_self(first.value) if isinstance(first, ast.Attribute) else ""))
    return found


def _of_class(cls: ast.ClassDef) -> Iterator[tuple[str, int]]:
    """Yields what objects of a class remember outside `owned`, and what is owned and is put in the place of another."""
    for target, value, line in _assignments(cls.body):
        if isinstance(target, ast.Name) and _makes(value):
            yield f"{cls.name}.{target.id}", line
    methods = [each for each in cls.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    owned = {
        _of_self(target) for method in methods for target, value, _ in _assignments(method.body) if _is_owned(value)
    }
    for method in methods:
        registered = _registered(method)
        for target, value, line in _assignments(method.body):
            name = _of_self(target)
            if name in owned and not _is_owned(value):
                yield f"{cls.name}.{name} is owned, and another takes its place", line
            elif name and method.name in LASTING and name not in registered and _makes(value):
                yield f"{cls.name}.{name}", line


def _remembered(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for target, value, line in _assignments(tree.body):
        if isinstance(target, ast.Name) and _makes(value):
            yield target.id, line
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield from _of_class(node)


def _found(root: Path = ROOT, folders: tuple[str, ...] = FOLDERS) -> dict[str, int]:
    return {
        f"{path.relative_to(root).as_posix()}:{name}": line
        for folder in folders
        for path in sorted((root / folder).rglob("*.py"))
        for name, line in _remembered(ast.parse(path.read_text("utf-8")))
    }


def test_what_is_by_owner_can_be_emptied() -> None:
    new = {f"{key} (line {line})" for key, line in _found().items() if key not in ALLOWED}
    assert not new, ADVICE


def test_nothing_is_allowed_that_is_gone() -> None:
    assert not ALLOWED.keys() - _found().keys()


BAD: Final = """
known = {}
FORMS = Cache(10, 10)
TABLE = {"a": 1}

class Part:
    shared: dict[str, int] = {}
    by_owner: dict[str, int] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)

    def __init__(self, host):
        self.buckets: Cache[str, float] = Cache[str, float](10, 10)
        self.one, self.other = set(), 0
        self.either = {} if host else None
        self.given = given or {}
        if host:
            self.deep = OrderedDict()
        self.changes = WindowLimit(host.clock, 1, 1.0)
        self.tries = WindowLimit(host.clock, 1, 1.0)
        host.owned(self.changes.times)

class Bad(Plugin):
    def setup(self):
        self.next: dict[str, int] = {}
        self.good: dict[str, int] = self.host.owned({})
        self.better = self.host.owned(Cache(10, 10), pairs=True)
        local = {}
        self.table = {"a": 1}

    def sweep(self):
        self.good = {}
        found = set()
"""


def test_the_check_sees_each_way(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "bad.py").write_text(BAD)
    assert {key.partition(":")[2] for key in _found(tmp_path, ("plugins",))} == {
        "known",
        "FORMS",
        "Part.shared",
        "Part.by_owner",
        "Part.buckets",
        "Part.one",
        "Part.either",
        "Part.given",
        "Part.deep",
        "Part.tries",
        "Bad.next",
        "Bad.good is owned, and another takes its place",
    }
