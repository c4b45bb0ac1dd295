"""XEP-0355: Namespace Delegation, in admin mode: a component answers requests in place of a host and its accounts."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Final, NamedTuple

from xmppd.contracts.components import (
    COMPONENT_CONNECTED,
    DELEGATES_CHANGED,
    DELEGATION,
    DELEGATION_NS,
    ComponentConnection,
)
from xmppd.contracts.disco import DISCO_CHANGED, DISCO_REPLACEMENTS, DiscoAsk, Identity, Replacement
from xmppd.errors import ResourceConstraint, ServiceUnavailable
from xmppd.plugin import JID, E, Kind, NoConfig, Plugin, Stanza, Xep, on
from xmppd.stanza import message, stanza_of
from xmppd.xml import CLIENT_NS, alone, children, find, tag_of

if TYPE_CHECKING:
    from xmppd.plugin import Account

FORWARD_NS: Final = "urn:xmpp:forward:0"
INFO_NS: Final = "http://jabber.org/protocol/disco#info"
DATA_NS: Final = "jabber:x:data"
REST: Final = f"{DELEGATION_NS}:bare:disco#info:*"
"""Section 7.2.4."""
OPEN: Final = 5000
"""So many requests may wait for an answer of a component at once."""
TOLD: Final = 500
"""So many features, identities and forms of one namespace count."""


class Asked(NamedTuple):
    """A request that was handed on, without what is in it. `sender`: as whom the answer comes; `to`: as it was sent."""

    asker: JID
    sender: JID
    to: JID | None
    id: str


class DelegationPlugin(Plugin[NoConfig]):
    """Implements `contracts.components.DelegationRules`."""

    xeps = (Xep(355, "0.5", "admin mode, for components"),)
    features = (DELEGATION_NS,)
    provides = (DELEGATION,)

    def setup(self) -> None:
        self.open = 0
        self._told: dict[tuple[str, bool], Replacement] = {}
        """What components have told of the namespaces that they have, for the host (False) and for accounts; as many as
        the configuration names."""

    def _delegated(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """By namespace: the component, and the attributes that must be there."""
        found = self.host.server.components.delegates(self.host.domain)
        return {ns: (name, filters) for name, each in found.items() for ns, filters in each.items()}

    # ---- what it is told

    @on(COMPONENT_CONNECTED)
    def advertise(self, connection: ComponentConnection) -> None:
        """Section 4.2; and it is asked what it has to tell (section 7.2)."""
        if self._of(connection):
            self.changed(connection)

    def _of(self, connection: ComponentConnection) -> dict[str, tuple[str, ...]]:
        return {ns: filters for ns, (name, filters) in self._delegated().items() if name == connection.name}

    @on(DELEGATES_CHANGED)
    def changed(self, connection: ComponentConnection) -> None:
        """It is told all that it has now, which may be nothing (section "Business Rules")."""
        mine = self._of(connection)
        for key in [key for key in self._told if key[0] in mine or key[0] not in self._delegated()]:
            del self._told[key]  # of who had it before
        told = E("delegation", DELEGATION_NS)
        for ns, filters in mine.items():
            names = [E("attribute", DELEGATION_NS, {"name": name}) for name in filters]
            told.append(E("delegated", DELEGATION_NS, {"namespace": ns}, *names))
        to = JID.parse(connection.name)
        connection.send(message("normal", told, to=to, sender=self.host.jid).stamped(id=token_urlsafe(6)))
        for ns in mine:
            if ns != REST:
                for bare, separator in ((False, "::"), (True, ":bare:")):
                    query = E("query", INFO_NS, {"node": f"{DELEGATION_NS}{separator}{ns}"})
                    self.host.ask(to, query, partial(self._has_told, connection.name, ns, bare))

    # ---- service discovery (section 7.2)

    def _has_told(self, name: str, ns: str, bare: bool, answer: Stanza | None) -> None:
        owner = self._delegated().get(ns)
        info = answer.child(INFO_NS, "query") if answer is not None and answer.type == "result" else None
        if info is None or owner is None or owner[0] != name:
            return
        identities = [
            Identity(str(each.get("category", "")), str(each.get("type", "")), str(each.get("name", "")))
            for each in list(children(info, INFO_NS, "identity"))[:TOLD]
        ]
        features = [str(each.get("var", "")) for each in list(children(info, INFO_NS, "feature"))[:TOLD]]
        forms = [alone(each) for each in list(children(info, DATA_NS, "x"))[:TOLD]]
        self._told[ns, bare] = Replacement(ns, tuple(identities), tuple(filter(None, features)), tuple(forms))
        if not bare:
            self.host.tell(DISCO_CHANGED, self.host.jid)

    @on(DISCO_REPLACEMENTS)
    def nested(self, ask: DiscoAsk) -> Iterable[Replacement]:
        """What the component that has a namespace has told last; nothing of it, if it has told nothing."""
        bare = ask.account is not None
        return [self._told.get((ns, bare), Replacement(ns)) for ns in self._delegated() if ns != REST]

    # ---- requests (section 4.3)

    def concerns(self, stanza: Stanza) -> bool:
        delegated = self._delegated()
        if not delegated or stanza.sender is None:
            return False
        name, filters = delegated.get(stanza.tags[0].rpartition("|")[0], ("", ()))
        if not name or stanza.sender.domain == name:  # section 4.3.1: its own are answered here
            return False
        payload = stanza.payload
        return payload is not None and all(payload.get(each) is not None for each in filters)

    def hand_on(self, stanza: Stanza, account: Account | None) -> None:
        name, _ = self._delegated().get(stanza.tags[0].rpartition("|")[0], ("", ()))
        self._hand_on(stanza, account, name)

    def hand_on_rest(self, stanza: Stanza, account: Account) -> bool:
        name, _ = self._delegated().get(REST, ("", ()))
        if not name or stanza.sender is None or stanza.sender.domain == name:
            return False
        self._hand_on(stanza, account, name)
        return True

    def _hand_on(self, stanza: Stanza, account: Account | None, name: str) -> None:
        assert stanza.sender is not None
        sender = account.jid if account is not None else self.host.jid
        asked = Asked(stanza.sender, sender, stanza.to, stanza.id)
        if not name or self.open >= OPEN:
            error = ResourceConstraint("too many requests wait for an answer") if name else ServiceUnavailable()
            self.host.deliver(_request(asked).error(error))
            return
        self.open += 1
        forwarded = E("forwarded", FORWARD_NS, None, alone(stanza.xml))
        wrapped = E("delegation", DELEGATION_NS, None, forwarded)
        self.host.ask(JID.parse(name), wrapped, partial(self._answered, asked), "set")

    def _answered(self, asked: Asked, answer: Stanza | None) -> None:
        """Everything that is not as it must be is <service-unavailable/> to who has asked, an error of the component's
        as well."""
        self.open -= 1
        inner = _result(answer) if answer is not None and answer.type == "result" else None
        if inner is None or not _fits(inner, asked):
            self.host.deliver(_request(asked).error(ServiceUnavailable()))
        else:
            self.host.deliver(inner.stamped(to=asked.asker, sender=asked.sender))


def _request(asked: Asked) -> Stanza:
    return Stanza(Kind.IQ, "get", asked.sender, asked.asker, asked.id)


def _result(answer: Stanza) -> Stanza | None:
    """The one stanza that the answer forwards."""
    wrapped = answer.child(DELEGATION_NS, "delegation")
    forwarded = find(wrapped, FORWARD_NS, "forwarded") if wrapped is not None else None
    found = [each for each in children(forwarded) if tag_of(each) == f"{CLIENT_NS}|iq"] if forwarded is not None else []
    if len(found) != 1:
        return None
    try:
        return stanza_of(found[0])
    except ValueError:
        return None


def _fits(inner: Stanza, asked: Asked) -> bool:
    """Section 4.3: `to`, `from`, `id` and `type` are those of an answer. Where the request had no `to`, the answer may
    have no `from`."""
    if inner.type != "result" or inner.id != asked.id or inner.to is None or inner.to != asked.asker:
        return False
    return inner.sender == asked.to or inner.sender is None or (asked.to is None and inner.sender == asked.sender)
