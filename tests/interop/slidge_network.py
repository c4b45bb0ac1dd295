"""A network for Slidge, inside it: two contacts and a group that answer. Runs in the environment of Slidge; what its
users see there is what Slidge makes of it."""

from __future__ import annotations

from slidge import BaseGateway, BaseSession, LegacyBookmarks, LegacyContact, LegacyMUC, LegacyParticipant, LegacyRoster
from slidge.util.types import MucType
from slixmpp import JID
from slixmpp.exceptions import XMPPError

CONTACTS = ("mercutio", "benvolio")
GROUP = "verona"


class Gateway(BaseGateway):
    COMPONENT_NAME = "A network for tests"
    COMPONENT_TYPE = "test"
    GROUPS = True

    async def validate(self, user_jid: JID, registration_form: dict[str, str | None]) -> dict[str, str]:
        if registration_form.get("password") != "rapier":
            raise XMPPError("not-authorized", "a wrong password")
        return {}


class Session(BaseSession):
    async def login(self) -> str:
        return "there"

    async def logout(self) -> None:
        """Nothing is left."""

    async def on_presence(self, *args: object, **more: object) -> None:
        """Nobody there asks for it."""


class Contact(LegacyContact):
    async def update_info(self) -> None:
        self.name = self.legacy_id.title()
        self.is_friend = True
        self.online()

    async def on_message(self, message: object) -> str:
        """It says it again. "phone": the user has said something on another device of that network."""
        text = str(message.body)  # type: ignore[attr-defined]
        if text == "phone":
            self.send_text("from my phone", carbon=True)
        else:
            self.send_text(f"{self.legacy_id}: {text}")
        return f"legacy-{text}"


class Roster(LegacyRoster):
    async def fill(self):  # type: ignore[no-untyped-def]
        for name in CONTACTS:
            contact = await self.by_legacy_id(name)
            await contact.add_to_roster()
            yield contact

    async def jid_username_to_legacy_id(self, jid_username: str) -> str:
        if jid_username not in CONTACTS:
            raise XMPPError("item-not-found", "nobody of that name")
        return jid_username


class Participant(LegacyParticipant):
    """As it is."""


class Group(LegacyMUC):
    async def update_info(self) -> None:
        self.name = "Verona"
        self.type = MucType.GROUP
        await self.add_to_bookmarks()

    async def fill_participants(self):  # type: ignore[no-untyped-def]
        yield await self.get_user_participant()
        yield await self.get_participant("Mercutio")

    async def on_message(self, message: object) -> str:
        (await self.get_participant("Mercutio")).send_text(f"heard: {message.body}")  # type: ignore[attr-defined]
        return f"legacy-{message.body}"  # type: ignore[attr-defined]


class Bookmarks(LegacyBookmarks):
    async def fill(self) -> None:
        await self.by_legacy_id(GROUP)

    async def jid_username_to_legacy_id(self, jid_username: str) -> str:
        if jid_username != GROUP:
            raise XMPPError("item-not-found", "no such group")
        return jid_username
