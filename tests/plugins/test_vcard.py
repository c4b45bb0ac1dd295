"""XEP-0054."""

from __future__ import annotations

import pytest

from tests.harness import Harness, condition, xml

GET = "<vCard xmlns='vcard-temp'/>"
CARD = "<vCard xmlns='vcard-temp'><FN>Romeo &amp; nobody else</FN></vCard>"


async def test_own_card(server: Harness) -> None:
    romeo = await server.login("romeo")
    empty = await romeo.iq(GET)
    assert empty[0].tag == "{vcard-temp}vCard" and len(empty[0]) == 0
    assert (await romeo.iq(CARD, "set")).get("type") == "result"
    for to in (None, "romeo@localhost"):
        assert (await romeo.iq(GET, to=to))[0][0].text == "Romeo & nobody else"
    assert (await romeo.iq(GET, "set")).get("type") == "result"
    assert len((await romeo.iq(GET))[0]) == 0
    juliet = await server.login("juliet")
    emptied = await juliet.iq(GET, to="romeo@localhost")
    assert emptied.get("type") == "result" and len(emptied[0]) == 0, "an emptied card is an empty card"


async def test_cards_are_for_all_to_read_and_for_the_owner_to_write(server: Harness) -> None:
    romeo, juliet = await server.login("romeo"), await server.login("juliet")
    await romeo.iq(CARD, "set")
    assert (await juliet.iq(GET, to="romeo@localhost"))[0][0].text == "Romeo & nobody else"
    refused = await juliet.iq("<vCard xmlns='vcard-temp'><FN>x</FN></vCard>", "set", to="romeo@localhost")
    assert condition(refused) == "forbidden"
    assert (await romeo.iq(GET))[0][0].text == "Romeo & nobody else"


async def test_no_card_is_like_no_account(server: Harness) -> None:
    """Section 3.3."""
    romeo = await server.login("romeo")
    await server.login("juliet", presence=True)
    there = await romeo.iq(GET, to="juliet@localhost", id="x")
    absent = await romeo.iq(GET, to="nobody@localhost", id="x")
    assert condition(there) == "service-unavailable"
    assert xml(there).replace("juliet", "nobody") == xml(absent)


@pytest.mark.server(plugins={"vcard": {"size": "1 KiB"}})
async def test_too_large(server: Harness) -> None:
    romeo = await server.login("romeo")
    card = f"<vCard xmlns='vcard-temp'><FN>{'x' * 2000}</FN></vCard>"
    assert condition(await romeo.iq(card, "set")) == "not-acceptable"
