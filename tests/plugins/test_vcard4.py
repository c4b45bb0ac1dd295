"""XEP-0292: the new card and the old one say the same."""

from __future__ import annotations

import pytest

from tests.harness import Harness, condition, xml
from tests.plugins.pubsub.test_access import ids, items, publish

NS = "urn:ietf:params:xml:ns:vcard-4.0"
NODE = "urn:xmpp:vcard4"
CARD = (
    f"<vcard xmlns='{NS}'><fn><text>Juliet</text></fn><email><text>j@capulet.example</text></email>"
    "<impp><uri>xmpp:juliet@localhost</uri></impp></vcard>"
)
OLD = "{vcard-temp}"


@pytest.mark.parametrize("over", ["iq", "pep"])
async def test_the_old_card_follows_the_new_one(server: Harness, over: str) -> None:
    juliet, romeo = await server.login("juliet"), await server.login("romeo")
    await juliet.iq("<vCard xmlns='vcard-temp'><FN>J</FN><PHOTO><EXTVAL>urn:x</EXTVAL></PHOTO></vCard>", "set")
    await server.quiet()
    if over == "iq":
        assert (await juliet.iq(CARD, "set")).get("type") == "result"
    else:
        await publish(juliet, NODE, "current", CARD, access_model="open")
    await server.quiet()
    old = await romeo.iq("<vCard xmlns='vcard-temp'/>", to="juliet@localhost")
    assert old.findtext(f".//{OLD}FN") == "Juliet"
    assert old.findtext(f".//{OLD}EMAIL/{OLD}USERID") == "j@capulet.example"
    assert old.find(f".//{OLD}PHOTO") is not None, "what only the old one has stays"
    new = await romeo.iq(f"<vcard xmlns='{NS}'/>", to="juliet@localhost")
    assert "xmpp:juliet@localhost" in xml(new)
    assert ids(await items(romeo, "juliet@localhost", NODE)) == ["current"]


async def test_the_new_card_follows_the_old_one(server: Harness) -> None:
    juliet, romeo = await server.login("juliet"), await server.login("romeo")
    await juliet.iq(CARD, "set")
    card = "<vCard xmlns='vcard-temp'><FN>Juliet Capulet</FN><TEL><NUMBER>1</NUMBER></TEL></vCard>"
    await juliet.iq(card, "set")
    await server.quiet()
    new = await romeo.iq(f"<vcard xmlns='{NS}'/>", to="juliet@localhost")
    assert new.findtext(f".//{{{NS}}}fn/{{{NS}}}text") == "Juliet Capulet"
    assert "xmpp:juliet@localhost" in xml(new), "what only the new one has stays"


async def test_errors(server: Harness) -> None:
    juliet, romeo = await server.login("juliet"), await server.login("romeo")
    large = f"<vcard xmlns='{NS}'><note><text>{'x' * 70_000}</text></note></vcard>"
    assert condition(await juliet.iq(large, "set")) == "not-acceptable"
    assert condition(await romeo.iq(CARD, "set", to="juliet@localhost")) == "service-unavailable"
    for to in ("juliet@localhost", "nobody@localhost"):
        assert condition(await romeo.iq(f"<vcard xmlns='{NS}'/>", to=to)) == "service-unavailable"
    assert len((await juliet.iq(f"<vcard xmlns='{NS}'/>"))[0]) == 0
