"""XEP-0398: avatars of PEP and of vCards are the same, and presence tells which."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1

from tests.harness import Client, Element, Harness
from tests.plugins.pubsub.test_access import NS, befriend, ids, items, publish
from tests.plugins.pubsub.test_pep import announce, events

DATA, META = "urn:xmpp:avatar:data", "urn:xmpp:avatar:metadata"
PICTURE = b"\x89PNG a picture"
HASH = sha1(PICTURE).hexdigest()
UPDATE = "{vcard-temp:x:update}"


def encoded(picture: bytes = PICTURE) -> str:
    return b64encode(picture).decode()


async def upload(client: Client, picture: bytes = PICTURE, id: str = HASH) -> None:
    await publish(client, DATA, id, f"<data xmlns='{DATA}'>{encoded(picture)}</data>")
    info = f"<info bytes='{len(picture)}' id='{id}' type='image/png'/>"
    await publish(client, META, id, f"<metadata xmlns='{META}'>{info}</metadata>")
    await client.harness.quiet()


def card(picture: bytes = PICTURE) -> str:
    photo = f"<PHOTO><TYPE>image/png</TYPE><BINVAL>{encoded(picture)}</BINVAL></PHOTO>" if picture else ""
    return f"<vCard xmlns='vcard-temp'><FN>Juliet</FN>{photo}</vCard>"


async def photo(client: Client, of: str | None = None) -> str | None:
    answer = await client.iq("<vCard xmlns='vcard-temp'/>", to=of)
    return answer.findtext(".//{vcard-temp}BINVAL")


async def test_what_is_published_is_on_the_card(server: Harness) -> None:
    juliet, romeo = await server.login("juliet"), await server.login("romeo")
    await juliet.iq("<vCard xmlns='vcard-temp'><FN>Juliet</FN></vCard>", "set")
    await upload(juliet)
    assert await photo(romeo, "juliet@localhost") == encoded()
    answer = await romeo.iq("<vCard xmlns='vcard-temp'/>", to="juliet@localhost")
    assert answer.findtext(".//{vcard-temp}FN") == "Juliet", "the rest of the card stays"
    await publish(juliet, META, "none", f"<metadata xmlns='{META}'/>")
    await server.quiet()
    assert await photo(romeo, "juliet@localhost") is None


async def test_a_picture_that_is_another_is_not_shown(server: Harness) -> None:
    juliet = await server.login("juliet")
    await upload(juliet)
    await upload(juliet, b"another picture", HASH)
    await publish(
        juliet, META, "x", f"<metadata xmlns='{META}'><info bytes='1' id='{'0' * 40}' type='image/png'/></metadata>"
    )
    await server.quiet()
    assert await photo(juliet) == encoded()


async def test_what_is_on_the_card_is_published(server: Harness) -> None:
    juliet, romeo = await server.login("juliet", presence=True), await server.login("romeo", presence=True)
    await befriend(server, juliet, romeo)
    await announce(romeo, META)
    await romeo.receive_all()
    await juliet.iq(card(), "set")
    await server.quiet()
    assert events(await romeo.receive_all(), META) == [HASH]
    answer = await items(romeo, "juliet@localhost", DATA, inside=f"<item id='{HASH}'/>")
    assert answer.findtext(f".//{{{DATA}}}data") == encoded()
    await juliet.iq(card(b""), "set")
    await server.quiet()
    told = await romeo.receive_all()
    assert [len(each) for message in told for each in message.iter(f"{{{META}}}metadata")] == [0]


async def test_a_card_without_a_change_of_the_picture_tells_nobody(server: Harness) -> None:
    juliet = await server.login("juliet")
    await juliet.iq(card(), "set")
    await server.quiet()
    await announce(juliet, META)
    await juliet.receive_all()
    await juliet.iq(card(), "set")
    await server.quiet()
    assert events(await juliet.receive_all(), META) == []
    assert ids(await items(juliet, None, META)) == [HASH]


async def test_presence_says_which(server: Harness) -> None:
    juliet, romeo = await server.login("juliet", presence=True), await server.login("romeo", presence=True)
    await befriend(server, juliet, romeo)
    await upload(juliet)
    x = "<x xmlns='vcard-temp:x:update'>{}</x>"
    for inside, expected in (("", HASH), (x.format(""), HASH), (x.format("<photo/>"), "")):
        juliet.send(f"<presence>{inside}</presence>")
        found = [each for each in await romeo.receive_all() if each.tag == "{jabber:client}presence"]
        assert [each.findtext(f"{UPDATE}x/{UPDATE}photo") or "" for each in found] == [expected]
        assert len(found[0].findall(f"{UPDATE}x")) == 1
    juliet.send(f"<presence to='{romeo.jid}'/>")
    assert (await romeo.receive()).findtext(f"{UPDATE}x/{UPDATE}photo") == HASH, "directed, too"


async def test_a_presence_that_came_before_the_picture_shows_the_picture(server: Harness) -> None:
    """XEP-0398 section 4: every available presence has the hash of the time when it goes out: to who probes or comes,
    and who has it broadcast."""
    juliet, romeo = await server.login("juliet", presence=True), await server.login("romeo", presence=True)
    tablet = await server.login("juliet", "tablet")
    says_none = "<x xmlns='vcard-temp:x:update'><photo/></x>"
    tablet.send(f"<presence>{says_none}</presence>")
    await befriend(server, juliet, romeo)

    async def shown() -> list[dict[str, str | None]]:
        romeo.send("<presence type='probe' to='juliet@localhost'/>")
        probed = _hashes(await romeo.receive_all())
        phone = await server.login("romeo", "phone")
        phone.send("<presence/>")
        came = _hashes(await phone.receive_all())
        phone.close()
        await server.quiet()
        await romeo.receive_all()
        return [probed, {jid: hash for jid, hash in came.items() if jid.startswith("juliet")}]

    for picture in (PICTURE, b"another", b"", PICTURE):
        await juliet.iq(card(picture), "set")
        await server.quiet()
        await romeo.receive_all()
        hash = sha1(picture).hexdigest() if picture else ""
        assert await shown() == [{juliet.jid: hash, tablet.jid: ""}] * 2
    juliet.send(f"<presence><x xmlns='vcard-temp:x:update'><photo>{'0' * 40}</photo></x></presence>")
    assert _hashes(await romeo.receive_all()) == {juliet.jid: HASH}, "an old hash of the client's is none"


def _hashes(got: list[Element]) -> dict[str, str | None]:
    presences = [each for each in got if each.tag == "{jabber:client}presence" and each.get("type") is None]
    assert all(len(each.findall(f"{UPDATE}x")) <= 1 for each in presences)
    return {str(each.get("from")): each.findtext(f"{UPDATE}x/{UPDATE}photo") for each in presences}


async def test_discovery(server: Harness) -> None:
    juliet = await server.login("juliet")
    answer = await juliet.iq("<query xmlns='http://jabber.org/protocol/disco#info'/>", to="juliet@localhost")
    features = {each.get("var") for each in answer[0]}
    assert {"urn:xmpp:pep-vcard-conversion:0", "urn:xmpp:bookmarks:1#compat", NS} <= features
