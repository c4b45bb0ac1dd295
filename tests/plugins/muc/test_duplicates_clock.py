"""A bot that counts its ids from 1 says what it says, in rooms too, and whatever the clock does."""

from __future__ import annotations

from tests.core.test_delivery import acked, bodies, enable
from tests.harness import Client, Harness
from tests.plugins.muc.people import ROOM, configure, join


async def test_a_new_message_is_none_that_was_acknowledged_before_the_clock_was_set_back(server: Harness) -> None:
    """The ids of a room's log rise all the same, so they are ahead of the clock."""
    eve = await server.login("eve")
    await join(eve, "eve", ROOM)
    await configure(eve, ROOM, muc__roomconfig_persistentroom="1")

    async def started() -> Client:
        bot = await server.login("bot", "b")
        await enable(bot)
        await join(bot, "bot", ROOM)
        return bot

    async def heard(bot: Client) -> list[str]:
        await eve.receive_all()
        for id in ("1", "2", "3"):
            bot.send(f"<message to='{ROOM}' type='groupchat' id='{id}'><body>door opened</body></message>")
        return bodies(await eve.receive_all())

    bot = await started()
    await heard(bot)
    server.clock.step(-600)
    again = await heard(bot)
    await bot.receive_all()
    await acked(bot)
    session = server.host.accounts["bot@localhost"].sessions["b"]
    bot.cut()
    server.server.session_manager.end(session)
    assert again == await heard(await started()) == ["door opened"] * 3
