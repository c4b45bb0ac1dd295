"""XEP-0133: Service Administration: what administrators do from their clients, by ad-hoc commands. Every operation of a
host is one, those of other plugins too (contracts.admin)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

from xmppd.contracts.admin import (
    ADMIN_NS,
    OPERATIONS_NS,
    AccountJid,
    AdHoc,
    Argument,
    Caller,
    Code,
    Kind,
    Operation,
    OperationError,
    Page,
    Parameter,
    Result,
    Shown,
    Text,
    operation,
)
from xmppd.contracts.commands import COMMANDS, Ask, Call, Command, CommandAsk, Done, Who
from xmppd.contracts.roster import ROSTER, RosterItem
from xmppd.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    InternalServerError,
    ItemNotFound,
    NotAcceptable,
    ResourceConstraint,
    StanzaError,
)
from xmppd.plugin import JID, E, Element, NoConfig, Plugin, Xep, on
from xmppd.stanza import message
from xmppd.xep.forms import Field, Submitted, form

ROSTER_NS: Final = "jabber:iq:roster"
LISTED: Final = 500
TYPES: Final[Mapping[Kind, str]] = {
    Kind.ACCOUNT: "jid-single",
    Kind.DEVICE: "jid-single",
    Kind.ADDRESS: "jid-single",
    Kind.SECRET: "text-private",
    Kind.TEXT: "text-multi",
    Kind.FLAG: "boolean",
    Kind.CHOICE: "list-single",
}
"""Of fields with one value; text-single for the other kinds."""
MANY: Final = {"jid-single": "jid-multi", "list-single": "list-multi"}
"""Of fields with several values, by that of one."""
ERRORS: Final[Mapping[Code, type[StanzaError]]] = {
    Code.INVALID: BadRequest,
    Code.FORBIDDEN: Forbidden,
    Code.NOT_FOUND: ItemNotFound,
    Code.CONFLICT: Conflict,
    Code.UNAVAILABLE: ResourceConstraint,
}


class Roster(Result, frozen=True):
    """`contacts`: name and subscription by address."""

    jid: JID
    contacts: dict[str, tuple[str, str]]

    def text(self) -> str:
        return "\n".join(
            f"{contact} ({subscription}){f' {name}' if name else ''}"
            for contact, (name, subscription) in self.contacts.items()
        )


class Statistics(Result, frozen=True):
    """`addresses`: where its devices are connected from; `contacts`: how many; `online`: resources."""

    addresses: tuple[str, ...]
    contacts: int
    online: tuple[str, ...]


class AcknowledgedUpTo(Result, frozen=True):
    accounts: int

    def text(self) -> str:
        return f"told {self.accounts}"


def roster_query(result: Roster) -> Element:
    """Section 4.7."""
    query = E("query", ROSTER_NS)
    for contact, (name, subscription) in result.contacts.items():
        attributes = {"jid": contact, "subscription": subscription}
        query.append(E("item", ROSTER_NS, attributes | ({"name": name} if name else {})))
    return query


STATISTICS: Final = (
    Shown("addresses", "ipaddresses", "list-multi", "Addresses"),
    Shown("contacts", "rostersize", "text-single", "Contacts"),
    Shown("online", "onlineresources", "text-multi", "Online"),
)


class Administration(Plugin[NoConfig]):
    xeps = (
        Xep(133, "1.2.0", "accounts, sessions, announcements, counts and lists; no message of the day, no white lists"),
    )

    async def start(self) -> None:
        operations = self.host.server.operations
        self.offered = [
            self.command(each, shown)
            for each in operations.of(self.host.domain)
            for shown in each.forms or (AdHoc(f"{OPERATIONS_NS}#{each.name}"),)
        ]

    @on(COMMANDS)
    def offer(self, ask: CommandAsk) -> Iterable[Command]:
        return self.offered if ask.account is None else ()

    # ---- an operation as a command

    def command(self, operation: Operation, shown: AdHoc) -> Command:
        described = operation.description
        title = shown.title or described.summary.rstrip(".")
        form_type = OPERATIONS_NS if shown.node.startswith(OPERATIONS_NS) else ADMIN_NS
        unasked = {*shown.fixed, "after"} if described.paged else shown.fixed  # all pages are told at once
        asked = [each for each in described.parameters if each.name not in unasked and each.kind is not Kind.DOMAIN]

        async def first(call: Call) -> Ask | Done:
            if not asked and not described.dangerous:
                return await run(call, {})
            warning = "This cannot be undone." if described.dangerous else ""
            return Ask(form("form", form_type, _fields(asked, shown), title, warning), complete=filled)

        async def filled(call: Call) -> Done:
            if call.form is None or call.form.type != "submit":
                raise NotAcceptable("where is the form?")
            return await run(call, _values(asked, shown, call.form))

        async def run(call: Call, given: dict[str, Any]) -> Done:
            try:
                result, note = await self._run(call.requester, operation, {**given, **shown.fixed})
            except OperationError as error:
                if error.code is Code.FAILED:
                    return Done(str(error), "error")
                raise ERRORS.get(error.code, InternalServerError)(str(error)) from None
            if not shown.results:
                return _told(form_type, result, note)
            made = form("result", form_type, [_field(each, result) for each in shown.results])
            if shown.payload is not None:
                made.append(shown.payload(result))
            return Done(note, form=made)

        return Command(shown.node, title, Who.ADMIN, first)

    async def _run(self, requester: JID, operation: Operation, given: dict[str, Any]) -> tuple[Result, str]:
        """The result (the beginning of a list), and what is to be said of it. Raises OperationError."""
        host = self.host.domain
        caller = Caller(requester.full, frozenset((host,)))
        for each in operation.description.parameters:
            if each.kind is Kind.DOMAIN:
                given[each.name] = host
        operations = self.host.server.operations
        name = operation.name
        result = await operations.run(name, given, caller, host)
        if not isinstance(result, Page):
            return result, ""
        shown, number, page = result.items[:LISTED], len(result.items), result
        while page.next:
            following = await operations.run(name, {**given, "after": page.next}, caller, host)
            if not isinstance(following, Page) or following.next == page.next:
                break
            page, number = following, number + len(following.items)
            shown += page.items[: LISTED - len(shown)]
        return Page(shown), f"the first {LISTED} of {number}" if number > LISTED else ""

    # ---- operations of our own

    @operation(
        "user.roster",
        "Show a contact list.",
        forms=(
            AdHoc(
                f"{ADMIN_NS}#get-user-roster",
                fields={"jid": "accountjid"},
                results=(Shown("jid", "accountjid", "jid-single"),),
                payload=roster_query,
            ),
        ),
    )
    async def roster(self, jid: Annotated[AccountJid, Argument("The account.")]) -> Roster:
        listed = {contact: item for contact, item in (await self._items(jid)).items() if item.listed}
        return Roster(jid, {contact: (item.name, item.subscription) for contact, item in sorted(listed.items())})

    @operation(
        "user.show",
        "Show an account.",
        forms=(AdHoc(f"{ADMIN_NS}#user-stats", fields={"jid": "accountjid"}, results=STATISTICS),),
    )
    async def statistics(self, jid: Annotated[AccountJid, Argument("The account.")]) -> Statistics:
        items = (await self._items(jid)).values()
        account = self.host.account(jid.bare)
        sessions = list(account.sessions.values()) if account is not None else []
        peers = tuple(session.stream.peer for session in sessions if session.stream is not None)
        return Statistics(peers, sum(item.listed for item in items), tuple(session.resource for session in sessions))

    @operation(
        "announce",
        "Tell all who are online.",
        forms=(AdHoc(f"{ADMIN_NS}#announce", fields={"text": "announcement"}),),
    )
    async def announce(
        self,
        text: Annotated[Text, Argument("What to say.")],
    ) -> AcknowledgedUpTo:
        """Section 4.23: a headline, so that it waits for nobody."""
        if not text.strip():
            raise NotAcceptable("the announcement is empty")
        accounts = self.host.accounts.items()
        online = [account.jid for _, account in accounts if account is not None and account.available()]
        for jid in online:
            body = E("body", "jabber:client", {}, text)
            self.host.deliver(message("headline", body, to=jid, sender=self.host.jid))
        return AcknowledgedUpTo(len(online))

    async def _items(self, jid: JID) -> Mapping[str, RosterItem]:
        """The account's contact list; it is in memory then. Raises ItemNotFound."""
        if await self.host.open_account(jid) is None:
            raise ItemNotFound(f"{jid}: there is no such account")
        return self.host.service(ROSTER).items(jid.bare)


# ---- arguments and results as forms (XEP-0004)


def _fields(asked: Iterable[Parameter], shown: AdHoc) -> Iterable[Field]:
    for each in asked:
        var, label = shown.fields.get(each.name, each.name), each.doc.rstrip(".")
        type = TYPES.get(each.kind, "text-single")
        if each.many:
            type = MANY.get(type, "text-multi")
        default = (each.default,) if each.default else ()
        options = tuple((choice, "") for choice in each.choices)
        yield Field(var, type, label, default, options, required=each.required)
        if each.name in shown.repeated:
            yield Field(shown.repeated[each.name], type, "Again")


def _values(asked: Iterable[Parameter], shown: AdHoc, found: Submitted) -> dict[str, Any]:
    """What was filled in, by argument. Raises NotAcceptable, BadRequest."""
    given: dict[str, Any] = {}
    for each in asked:
        var = shown.fields.get(each.name, each.name)
        values = found.values.get(var, ())
        if each.many:
            values = tuple(value.strip() for value in values if value.strip())
        if not values and not each.required:
            continue
        if each.many:
            given[each.name] = values
        elif each.kind is Kind.TEXT:
            given[each.name] = "\n".join(values)
        elif each.kind is Kind.FLAG:
            given[each.name] = found.boolean(var) or False
        else:
            text = values[0] if values else ""
            given[each.name] = text if each.kind is Kind.SECRET else text.strip()
        again = found.text(shown.repeated[each.name]) if each.name in shown.repeated else None
        if again not in (None, "", given[each.name]):
            raise NotAcceptable("the passwords differ")
    return given


def _field(shown: Shown, result: Result) -> Field:
    value = getattr(result, shown.attribute)
    values = tuple(map(str, value)) if isinstance(value, tuple) else (str(value),)
    return Field(shown.var, shown.type, shown.label, values)


def _told(form_type: str, result: Result, note: str) -> Done:
    """A sentence as a note, more as a form."""
    lines = tuple(result.text().split("\n"))
    if len(lines) == 1:
        return Done(lines[0])
    return Done(note, form=form("result", form_type, [Field("text", "text-multi", "Result", lines)]))
