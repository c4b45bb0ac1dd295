"""Who sees that somebody is online, and when they were last: everyone, contacts, nobody, but for some.

See docs/howto/privacy.md. The account's policy is set by an ad-hoc command of its own. Presence is withheld in
`presence.broadcast`, the answers of XEP-0012 in `last_activity`; here is what passes the chains: presence to an address
and questions to a device.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, cast, get_args

from xmppd.config import option
from xmppd.contracts.commands import COMMANDS, Ask, Call, Command, CommandAsk, Done, Who
from xmppd.contracts.moving import PORTABLE, Intake, OwnerKind, Portable
from xmppd.contracts.privacy import IDLE_TAGS, LAST_NS, PRIVACY, Audience, People, without_idle_time
from xmppd.contracts.roster import ROSTER
from xmppd.contracts.routing import INBOUND, OUTBOUND
from xmppd.contracts.sessions import PRESENCE
from xmppd.errors import JidMalformed, MalformedJid, NotAcceptable, ResourceConstraint, ServiceUnavailable
from xmppd.plugin import JID, Account, E, Element, Inbound, Kind, Outbound, Plugin, Stage, Verdict, Xep, on
from xmppd.storage.api import Write
from xmppd.xep.forms import Field, Submitted, form
from xmppd.xml import find, text_of

NODE: Final = "urn:xmppd:privacy"
LAST: Final = f"{LAST_NS}|query"
PEOPLE: Final[tuple[str, ...]] = get_args(People)
LABELS: Final = {"everyone": "Everyone", "contacts": "Contacts who see my presence", "nobody": "Nobody"}


@dataclass(frozen=True)
class Config:
    online: People = option("contacts", "Who sees that an account is online, if it has not chosen.")
    last_seen: People = option("contacts", "Who sees when an account was last active, if it has not chosen.")
    exceptions: int = option(500, "Addresses that one account may except.", low=0, high=10_000)


@dataclass(frozen=True, slots=True)
class Policy:
    """What one account has chosen."""

    online: Audience
    last_seen: Audience


class PrivacyPolicy(Plugin[Config]):
    """Implements `contracts.privacy.Privacy`."""

    xeps = (Xep(319, "1.0.2", "withheld from whom the account's policy does not name"),)
    provides = (PRIVACY,)

    def setup(self) -> None:
        self.chosen = self.host.storage.map("privacy", Policy, cached=True)
        self.reconfigured()

    def reconfigured(self) -> None:
        self.unchosen = Policy(Audience(self.config.online), Audience(self.config.last_seen))

    # ---- contracts.privacy.Privacy

    def policy(self, owner: str) -> Policy:
        return self.chosen.get(owner).get("") or self.unchosen

    def online(self, owner: str) -> Audience:
        return self.policy(owner).online

    def last_seen(self, owner: str) -> Audience:
        return self.policy(owner).last_seen

    # ---- the path of stanzas

    @on(OUTBOUND, Stage.GUARD, (Kind.PRESENCE,), tags=IDLE_TAGS)
    def directed(self, event: Outbound) -> Verdict | None:
        """To an address, rooms mostly, goes no idle time that it may not see; that they are there is said by choice."""
        stanza, owner = event.stanza, event.owner.bare
        if stanza.to is None or stanza.to.bare == owner:
            return None
        if not self._shows_last(event.owner, stanza.to.bare):
            event.stanza = without_idle_time(stanza)
        return None

    @on(INBOUND, Stage.BLOCK, (Kind.IQ,), types=("get",), tags=(LAST,))
    def asked(self, event: Inbound) -> Verdict | None:
        """XEP-0012 section 4: a device is asked for its idle time. The answer is that of one that is not there."""
        stanza = event.stanza
        if stanza.to is None or not stanza.to.resource:
            return None
        sender = stanza.sender.bare if stanza.sender is not None else ""
        if sender in (event.owner.bare, self.host.domain) or self._shows_last(event.owner, sender):
            return None
        raise ServiceUnavailable()

    def _shows_last(self, owner: Account, viewer: str) -> bool:
        roster = self.host.find(ROSTER)
        item = roster.item(owner.bare, viewer) if roster is not None else None
        return self.last_seen(owner.bare).admits(viewer, item is not None and item.sees_us)

    # ---- moving in and out

    @on(PORTABLE)
    def portable(self, domain: JID) -> Iterable[Portable]:
        yield Portable(OwnerKind.ACCOUNT, (f"{NODE}|policy",), self._give, self._take)

    async def _give(self, owner: JID) -> AsyncIterator[Element]:
        chosen = await self.chosen.read(owner.bare, "")
        if chosen is not None:
            audiences = (("online", chosen.online), ("last-seen", chosen.last_seen))
            yield E("policy", NODE, {}, *(
                E(name, NODE, {"people": each.people}, *(E("but", NODE, {}, jid) for jid in each.but))
                for name, each in audiences
            ))  # fmt: skip

    async def _take(self, owner: JID, policy: Element, intake: Intake) -> Sequence[Write]:
        """Raises ValueError, MalformedJid."""
        if not intake.replace and await self.chosen.read(owner.bare, "") is not None:
            intake.kept("privacy settings")
            return ()
        found = [self._audience(find(policy, NODE, name)) for name in ("online", "last-seen")]
        intake.took("privacy settings")
        return [self.chosen.put(owner.bare, "", Policy(*found))]

    def _audience(self, element: Element | None) -> Audience:
        people = str(element.get("people", "")) if element is not None else ""
        if element is None or people not in PEOPLE or len(element) > self.config.exceptions:
            raise ValueError("a privacy policy that is none")
        but = tuple(sorted({JID.parse(text_of(each)).bare for each in element}))
        return Audience(cast("People", people), but)

    # ---- choosing

    @on(COMMANDS)
    def offer(self, ask: CommandAsk) -> Iterable[Command]:
        if ask.account is not None:
            yield Command(NODE, "Privacy: online and last seen", Who.OWNER, self.show)

    async def show(self, call: Call) -> Ask:
        assert call.account is not None
        policy = self.policy(call.account.bare)
        fields = [
            *_fields("online", "Who sees that you are online", policy.online),
            *_fields("last_seen", "Who sees when you were last active", policy.last_seen),
        ]
        return Ask(form("form", NODE, fields, "Privacy"), complete=self.choose)

    async def choose(self, call: Call) -> Done:
        """What is not filled in stays as it is. Raises NotAcceptable, JidMalformed, ResourceConstraint."""
        account, filled = call.account, call.form
        assert account is not None
        if filled is None:
            raise NotAcceptable("the form is missing")
        async with self.host.locks.hold(f"privacy {account.bare}"):
            before = self.policy(account.bare)
            after = Policy(
                self._read(filled, "online", before.online), self._read(filled, "last_seen", before.last_seen)
            )
            if after != before or not self.chosen.get(account.bare):
                await self.host.storage.commit([self.chosen.put(account.bare, "", after)])
                self._show_change(account, before, after)
        return Done("Your choice is kept.")

    def _read(self, filled: Submitted, name: str, before: Audience) -> Audience:
        people = filled.text(name) or before.people
        if people not in PEOPLE:
            raise NotAcceptable(f"{name} is one of {', '.join(PEOPLE)}")
        named = filled.values.get(f"{name}_except")
        if named is None:
            return Audience(cast("People", people), before.but)
        if len(named) > self.config.exceptions:
            raise ResourceConstraint(f"at most {self.config.exceptions} addresses")
        try:
            but = tuple(sorted({JID.parse(each.strip()).bare for each in named if each.strip()}))
        except MalformedJid:
            raise JidMalformed(f"{name}_except holds addresses") from None
        return Audience(cast("People", people), but)

    def _show_change(self, account: Account, before: Policy, after: Policy) -> None:
        """Contacts see at once what they now may, and no longer what they may not."""
        roster, presence = self.host.find(ROSTER), self.host.find(PRESENCE)
        if roster is None or presence is None or not account.available():
            return
        idle = any(not IDLE_TAGS.isdisjoint(each.presence.tags) for each in account.available() if each.presence)
        for contact, item in list(roster.items(account.bare).items()):
            if not item.sees_us:
                continue
            saw, sees = before.online.admits(contact, True), after.online.admits(contact, True)
            other_idle = idle and before.last_seen.admits(contact, True) != after.last_seen.admits(contact, True)
            if saw and not sees:
                presence.withdraw(account, contact, policy=True)
            elif sees and (not saw or other_idle):
                presence.announce(account, contact)


def _fields(name: str, label: str, audience: Audience) -> list[Field]:
    options = tuple((each, LABELS[each]) for each in PEOPLE)
    return [
        Field(name, "list-single", label, (audience.people,), options, required=True),
        Field(f"{name}_except", "jid-multi", "… except these addresses or servers", audience.but),
    ]
