"""XEP-0359: removes from the messages of clients what only the server may say: stanza-ids in the name of anything that
it hosts (its domains, accounts and rooms), and delays in the server's name (XEP-0203 section 5)."""

from __future__ import annotations

from xmppd.contracts.routing import INBOUND, OUTBOUND
from xmppd.errors import MalformedJid
from xmppd.jid import JID
from xmppd.plugin import Inbound, Kind, NoConfig, Outbound, Plugin, Stage, Stanza, Xep, on
from xmppd.xep.elements import DELAY_NS, SID_NS

DELAY_TAG = f"{DELAY_NS}|delay"
MARKS = frozenset((f"{SID_NS}|stanza-id", DELAY_TAG))
MESSAGES = (Kind.MESSAGE,)


class StableIds(Plugin[NoConfig]):
    xeps = (
        Xep(359, "0.7.0", "an account's ids are given by the archive, a room's by the room"),
        Xep(203, "2.0", "delays that a client stamps in the server's name are taken out"),
    )
    features = (SID_NS,)
    account_features = (SID_NS,)

    def setup(self) -> None:
        self._read: tuple[bytes, tuple[JID, ...]] = (b"", ())

    @on(OUTBOUND, Stage.STAMP, MESSAGES, tags=MARKS)
    def outgoing(self, event: Outbound) -> None:
        """A client speaks for nothing that is hosted here: no archive, of people or rooms, gets such an id."""
        event.stanza = self._cleaned(event.stanza, event.owner.bare, "", trusted=False)

    def _named(self, stanza: Stanza) -> frozenset[str] | None:
        """Of a room's messages with the room's own id that is nobody in the room."""
        if DELAY_TAG in stanza.tags:
            return None
        names, ours = self._names(stanza)
        return names if ours <= {_speaker(stanza)} else None

    @on(INBOUND, Stage.STAMP, MESSAGES, tags=MARKS, recipients_of=_named)
    def incoming(self, event: Inbound) -> None:
        """Removes all ids that carry the owner's address in any spelling (section 5)."""
        stanza = event.stanza
        # Only the server speaks for the domain, and for an account's bare address.
        trusted = stanza.sender is not None and stanza.sender.full in (self.host.domain, event.owner.bare)
        event.stanza = self._cleaned(stanza, event.owner.bare, _speaker(stanza), trusted)

    def _cleaned(self, stanza: Stanza, owner: str, speaker: str, trusted: bool) -> Stanza:
        """Without ids by `owner`, and by what is ours unless it is the `speaker` itself; and, unless the server is the
        sender, without delays in its name.

        Ids of others stay (section 3, third rule). Of ours none do: whoever asks them is told that the rules
        are kept here (section 5), so an id in the name of any of them is believed.
        """
        names, ours = self._names(stanza)
        forged = (ours - {speaker}) | (names & {owner})
        if forged:
            stanza = stanza.without(SID_NS, "stanza-id", lambda element: _bare(element.get("by")) in forged)
        if not trusted and DELAY_TAG in stanza.tags:
            server = (self.host.domain, owner)
            stanza = stanza.without(DELAY_NS, "delay", lambda element: _full(element.get("from")) in server)
        return stanza

    def _names(self, stanza: Stanza) -> tuple[frozenset[str], frozenset[str]]:
        """The bare addresses in whose name ids are given, and those of them that are hosted here. Read once for all
        recipients of a fan-out, be it ours or that of a room elsewhere, which sends us each copy."""
        inside, found = self._read
        if inside != stanza.inside:
            elements = stanza.xml.iterchildren(f"{{{SID_NS}}}stanza-id")
            found = tuple(jid for element in elements if (jid := _parsed(element.get("by"))) is not None)
            self._read = (stanza.inside, found)
        is_local = self.host.router.routes.is_local
        return frozenset(jid.bare for jid in found), frozenset(jid.bare for jid in found if is_local(jid.domain))


def _speaker(stanza: Stanza) -> str:
    return stanza.sender.bare if stanza.sender is not None else ""


def _bare(text: str | None) -> str:
    jid = _parsed(text)
    return jid.bare if jid is not None else ""


def _full(text: str | None) -> str:
    jid = _parsed(text)
    return jid.full if jid is not None else ""


def _parsed(text: str | None) -> JID | None:
    """None for what is no address: it is nobody's."""
    try:
        return JID.parse(str(text or ""))
    except MalformedJid:
        return None
