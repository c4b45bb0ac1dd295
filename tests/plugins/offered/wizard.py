"""A third party's commands, for the tests of XEP-0050."""

from __future__ import annotations

from collections.abc import Iterable

from xmppd.contracts.commands import COMMANDS, Ask, Call, Command, CommandAsk, Done, Who
from xmppd.errors import NotAcceptable
from xmppd.plugin import NoConfig, Plugin, on
from xmppd.xep.forms import Field, form


class Wizard(Plugin[NoConfig]):
    @on(COMMANDS)
    def offer(self, ask: CommandAsk) -> Iterable[Command]:
        if ask.account is not None:
            return [Command("mine", "For the owner", Who.OWNER, self.end)]
        return [
            Command("wizard", "Two forms", Who.USER, self.first),
            Command("now", "At once", Who.ANYONE, self.end),
            Command("secret", "For the few", Who.ADMIN, self.end),
        ]

    async def first(self, call: Call) -> Ask:
        return Ask(form("form", "urn:test", [Field("service")], title="One"), next=self.second)

    async def second(self, call: Call) -> Ask:
        service = call.form.text("service") if call.form is not None else None
        if not service:
            raise NotAcceptable("which service?")
        call.data["service"] = service
        return Ask(form("form", "urn:test", [Field("state")], title="Two"), complete=self.end)

    async def end(self, call: Call) -> Done:
        return Done(f"{call.data.get('service', 'nothing')} is done")
