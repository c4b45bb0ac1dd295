"""End-to-end encryption (XEP-0384) between two slixmpp-omemo clients: keys over PEP, messages to who is offline."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import pytest
from omemo.storage import Just, Maybe, Nothing, Storage
from omemo.types import DeviceInformation, JSONType
from slixmpp import JID, Message
from slixmpp.plugins import register_plugin
from slixmpp_omemo import XEP_0384, TrustLevel

from tests.interop.conftest import People
from tests.interop.people import WITHIN, Person


class Kept(Storage):
    """What a device keeps while it is off."""

    def __init__(self, data: dict[str, JSONType]) -> None:
        super().__init__()
        self.data = data

    async def _load(self, key: str) -> Maybe[JSONType]:
        return Just(self.data[key]) if key in self.data else Nothing()

    async def _store(self, key: str, value: JSONType) -> None:
        self.data[key] = value

    async def _delete(self, key: str) -> None:
        self.data.pop(key, None)


class Omemo(XEP_0384):  # type: ignore[misc]
    """Trusts whom it meets."""

    default_config: ClassVar[dict[str, object]] = {**XEP_0384.default_config, "data": None}
    data: dict[str, JSONType]

    def plugin_init(self) -> None:
        self._kept = Kept(self.data)
        super().plugin_init()

    @property
    def storage(self) -> Storage:
        return self._kept

    @property
    def _btbv_enabled(self) -> bool:
        return True

    async def _prompt_manual_trust(self, devices: frozenset[DeviceInformation], identifier: str | None) -> None:
        manager = await self.get_session_manager()
        for device in devices:
            await manager.set_trust(device.bare_jid, device.identity_key, TrustLevel.TRUSTED.value)


register_plugin(Omemo)
pytestmark = pytest.mark.filterwarnings("ignore:Accessing plugins:DeprecationWarning")


async def device(people: People, name: str, data: dict[str, JSONType]) -> tuple[Person, asyncio.Queue[Message]]:
    """Signed in, its keys published; what comes that is encrypted."""
    person = await people.client(name, "omemo")
    for plugin in ("xep_0004", "xep_0030", "xep_0060", "xep_0163", "xep_0334", "xep_0380"):
        person.register_plugin(plugin)
    ready, came = asyncio.Event(), asyncio.Queue[Message]()
    person.add_event_handler("omemo_initialized", lambda _: ready.set())
    person.register_plugin("xep_0384", {"data": data}, module=Omemo)
    omemo = person.plugin["xep_0384"]
    person.add_event_handler("message", lambda each: came.put_nowait(each) if omemo.is_encrypted(each) else None)
    await person.sign_in(people.server.port())
    await person.appear()
    async with asyncio.timeout(WITHIN * 3):
        await ready.wait()
    return person, came


async def say(sender: Person, to: str, text: str) -> None:
    message = sender.make_message(mto=JID(to), mtype="chat")
    message["body"] = text
    message.set_to(JID(to))
    message.set_from(sender.boundjid)
    encrypted, errors = await sender.plugin["xep_0384"].encrypt_message(message, JID(to))
    assert encrypted is not None and not errors, errors
    assert text not in str(encrypted)
    encrypted.send()
    await sender.settled()


async def hear(receiver: tuple[Person, asyncio.Queue[Message]]) -> str:
    person, came = receiver
    message = await asyncio.wait_for(came.get(), WITHIN)
    decrypted, _ = await person.plugin["xep_0384"].decrypt_message(message)
    return str(decrypted["body"])


async def test_two_people_who_are_offline_in_turn(people: People) -> None:
    romeo_keys: dict[str, JSONType] = {}
    juliet_keys: dict[str, JSONType] = {}
    juliet = await device(people, "juliet", juliet_keys)
    juliet[0].leave()
    romeo = await device(people, "romeo", romeo_keys)
    await say(romeo[0], people.bare("juliet"), "art thou there?")  # to the keys of somebody who is not
    romeo[0].leave()
    juliet = await device(people, "juliet", juliet_keys)
    assert await hear(juliet) == "art thou there?"
    await say(juliet[0], people.bare("romeo"), "I was away")
    juliet[0].leave()
    romeo = await device(people, "romeo", romeo_keys)
    assert await hear(romeo) == "I was away"
