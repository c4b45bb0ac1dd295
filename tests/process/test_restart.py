"""SIGTERM, and the server is there again: clients resume as if only their connection had been lost (T51)."""

from __future__ import annotations

from tests.process.client import Wire
from tests.process.server import ServerProcess

from .test_crash import process

__all__ = ["process"]

SM = "urn:xmpp:sm:3"
CLIENT = "{jabber:client}"
ROOM = "garden@conference.localhost"


async def test_sessions_and_rooms_outlive_the_process(process: ServerProcess) -> None:
    async with await Wire.login(process.port(), "juliet") as juliet:
        previous = str((await juliet.enable()).get("id"))
        juliet.send("<presence/>")
        juliet.send(f"<presence to='{ROOM}/Julia'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
        unlock = "<x xmlns='jabber:x:data' type='submit'/>"
        query = f"<query xmlns='http://jabber.org/protocol/muc#owner'>{unlock}</query>"
        juliet.send(f"<iq type='set' id='unlock' to='{ROOM}'>{query}</iq>")
        while (element := await juliet.receive()).get("id") != "unlock":
            pass
        assert element.get("type") == "result"
        await process.stop()
    await process.start()
    async with await Wire.login(process.port(), "romeo") as romeo:
        romeo.send("<message to='juliet@localhost' type='chat' id='1'><body>while you were away</body></message>")
        romeo.send(f"<presence to='{ROOM}/Romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
        seen = []
        while f"{ROOM}/Romeo" not in seen:
            seen.append((await romeo.find(f"{CLIENT}presence")).get("from"))
        assert seen == [f"{ROOM}/Julia", f"{ROOM}/Romeo"], "she never left"
        async with await Wire.connect(process.port()) as juliet:
            await juliet.sign_in("juliet")
            resumed = await juliet.resume(previous)
            assert resumed.tag == f"{{{SM}}}resumed"
            assert resumed.get("h") == "3"
            found = await juliet.find(f"{CLIENT}message")
            while found.findtext(f"{CLIENT}body") != "while you were away":
                found = await juliet.find(f"{CLIENT}message")
            juliet.send(f"<message to='{ROOM}' type='groupchat' id='2'><body>here I am</body></message>")
            while (await romeo.find(f"{CLIENT}message")).findtext(f"{CLIENT}body") != "here I am":
                pass
