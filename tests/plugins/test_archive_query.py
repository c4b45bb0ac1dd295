"""Archive queries against a model, over two kinds of store, and what is no query."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.storage.clocks import LoopClock
from xmppd.contracts.archive import LOG
from xmppd.errors import BadRequest, FeatureNotImplemented, ItemNotFound, JidMalformed, StanzaError
from xmppd.jid import JID
from xmppd.storage import open_storage
from xmppd.storage.api import Entry, Flags
from xmppd.storage.store import Store
from xmppd.xep.elements import stamp
from xmppd.xep.mam import Page, Query, fin, read_page, read_query, results
from xmppd.xml import parse

OWNER = "juliet@localhost"
BASE = 1_700_000_000_000_000
PEERS = ["romeo@localhost", "nurse@localhost", "juliet@localhost", "localhost"]
RESOURCES = ["", "orchard", "home", "Orchard"]
FLAGS = [0, 1, 1, 3]


def made(count: int) -> list[Entry]:
    random = Random(7)
    found, id = [], BASE
    for number in range(count):
        id += random.choice((1, 1, 1_000, 1_000_000, 3_600_000_000))
        peer, resource = random.choice(PEERS), random.choice(RESOURCES)
        body = f"<message to='{OWNER}' from='{peer}' type='chat'><body>{number}</body></message>".encode()
        found.append(Entry(id, peer, resource, random.choice(FLAGS), body))
    return found


ENTRIES = made(80)
SHOWN = [each for each in ENTRIES if not each.flags & Flags.HIDDEN]
HIDDEN = [each for each in ENTRIES if each.flags & Flags.HIDDEN]


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/store.db"
    store = await open_storage(url, LoopClock())
    log = store.log(LOG)
    await store.commit([log.append(OWNER, entry) for entry in ENTRIES])
    await store.commit([log.append("other@localhost", entry) for entry in ENTRIES[:5]])
    yield store
    await store.close()


@dataclass(frozen=True)
class Wish:
    """A query as a client writes it, and what the model says it gets."""

    peer: str = ""
    resource: str = ""
    start: int | None = None
    end: int | None = None
    after_id: int | None = None
    before_id: int | None = None
    ids: tuple[int, ...] = ()
    max: int | None = None
    after: int | None = None
    before: int | None = None
    last: bool = False
    flip: bool = False

    def xml(self) -> bytes:
        fields: dict[str, list[str]] = {}
        if self.peer:
            fields["with"] = [f"{self.peer}/{self.resource}" if self.resource else self.peer]
        for name in ("start", "end"):
            moment = getattr(self, name)
            if moment is not None:
                fields[name] = [stamp(moment)]
        for name, value in (("after-id", self.after_id), ("before-id", self.before_id)):
            if value is not None:
                fields[name] = [str(value)]
        if self.ids:
            fields["ids"] = [str(id) for id in self.ids]
        form = "".join(
            f"<field var='{var}'>{''.join(f'<value>{value}</value>' for value in values)}</field>"
            for var, values in fields.items()
        )
        rsm = "" if self.max is None else f"<max>{self.max}</max>"
        rsm += "" if self.after is None else f"<after>{self.after}</after>"
        rsm += f"<before>{self.before}</before>" if self.before is not None else "<before/>" if self.last else ""
        return query(form, rsm, "<flip-page/>" if self.flip else "")

    def known(self) -> set[int]:
        single = (self.after_id, self.before_id, self.after, self.before)
        return {id for id in (*single, *self.ids) if id is not None}

    def matching(self) -> list[Entry]:
        def match(entry: Entry) -> bool:
            return (
                (not self.peer or entry.peer == self.peer)
                and (not self.resource or entry.resource == self.resource)
                and (self.start is None or entry.id >= self.start)
                and (self.end is None or entry.id <= self.end)
                and (self.after_id is None or entry.id > self.after_id)
                and (self.before_id is None or entry.id < self.before_id)
                and (not self.ids or entry.id in self.ids)
            )

        return [each for each in SHOWN if match(each)]


def query(form: str = "", rsm: str = "", more: str = "") -> bytes:
    type_field = "<field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field>"
    x = f"<x xmlns='jabber:x:data' type='submit'>{type_field}{form}</x>" if form else ""
    page = f"<set xmlns='http://jabber.org/protocol/rsm'>{rsm}</set>" if rsm else ""
    return f"<query xmlns='urn:xmpp:mam:2' queryid='q&apos;1'>{x}{page}{more}</query>".encode()


async def asked(store: Store, xml: bytes) -> tuple[Query, Page]:
    found = read_query(parse(xml), 50, 250)
    return found, await read_page(store.log(LOG), OWNER, found)


ids = st.sampled_from([each.id for each in SHOWN])
maybe_gone = ids | st.sampled_from([each.id for each in HIDDEN] + [BASE, BASE + 5, 1, (1 << 63) - 1])
times = st.sampled_from([each.id for each in ENTRIES]) | st.integers(BASE - 10, ENTRIES[-1].id + 10)
wishes = st.builds(
    Wish,
    peer=st.sampled_from(["", *PEERS, "nobody@localhost"]),
    resource=st.sampled_from(RESOURCES),
    start=st.none() | times,
    end=st.none() | times,
    after_id=st.none() | ids,
    before_id=st.none() | ids,
    ids=st.just(()) | st.lists(ids, max_size=4, unique=True).map(tuple),
    max=st.none() | st.integers(0, 90),
    after=st.none() | maybe_gone,
    before=st.none() | ids,
    last=st.booleans(),
    flip=st.booleans(),
).map(lambda wish: wish if wish.peer else Wish(**{**wish.__dict__, "resource": ""}))


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wish=wishes)
async def test_queries_against_a_model(store: Store, wish: Wish) -> None:
    if not wish.known() <= {each.id for each in SHOWN}:
        with pytest.raises(ItemNotFound):
            await asked(store, wish.xml())
        return
    found, page = await asked(store, wish.xml())
    matching = wish.matching()
    if wish.max == 0:
        assert (page.entries, page.count) == ([], len(matching))
        return
    rest = [each for each in matching if wish.after is None or each.id > wish.after]
    rest = [each for each in rest if wish.before is None or each.id < wish.before]
    size = 50 if wish.max is None else wish.max
    backwards = wish.last or wish.before is not None
    assert page.entries == (rest[-size:] if backwards else rest[:size])
    assert page.complete is (len(rest) <= size)
    assert page.count in (None, len(matching))
    said = [each.xml[0] for each in results(JID.parse(OWNER), JID.parse(OWNER + "/b"), found, page)]
    sent = [int(str(each.get("id"))) for each in said]
    assert sent == [each.id for each in (reversed(page.entries) if wish.flip else page.entries)]
    assert all(each.get("queryid") == "q'1" for each in said)
    ends = [child.text for child in fin(page)[0] if not child.tag.endswith("}count")]
    assert ends == [str(each.id) for each in (*page.entries[:1], *page.entries[-1:])]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
async def test_paging_through_all_of_it(store: Store, backwards: bool, flip: bool) -> None:
    """Each entry once, whatever the page."""
    for size in (1, 7, 250):
        seen: list[int] = []
        place = "<before/>" if backwards else ""
        while True:
            _, page = await asked(store, query(rsm=f"<max>{size}</max>{place}", more="<flip-page/>" if flip else ""))
            found = [each.id for each in page.entries]
            seen = [*found, *seen] if backwards else [*seen, *found]
            if page.complete:
                break
            place = f"<before>{found[0]}</before>" if backwards else f"<after>{found[-1]}</after>"
        assert seen == [each.id for each in SHOWN]


NASTY = [
    "' OR 1=1 --",
    "1; DROP TABLE entry",
    "{'$gt': ''}",
    "$where",
    "%",
    "*",
    "\\",
    "-1",
    "+1",
    " 1",
    "0",
    "01",
    "1.0",
    "1e9",
    "٣",
    "1" * 400,
    str(1 << 63),
    str(1 << 64),
]


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def field(var: str, *values: str) -> str:
    return f"<field var='{var}'>{''.join(f'<value>{escaped(value)}</value>' for value in values)}</field>"


@pytest.mark.parametrize("text", NASTY)
async def test_what_is_no_id_is_not_found(store: Store, text: str) -> None:
    for xml in (
        query(field("after-id", text)),
        query(field("before-id", text)),
        query(field("ids", str(SHOWN[0].id), text)),
        query(rsm=f"<after>{escaped(text)}</after>"),
        query(rsm=f"<before>{escaped(text)}</before>"),
    ):
        with pytest.raises(ItemNotFound):
            await asked(store, xml)
    for var in ("start", "end"):
        with pytest.raises(BadRequest):
            await asked(store, query(field(var, text)))
    try:
        _, page = await asked(store, query(field("with", text)))
        assert page.entries == []
    except JidMalformed:
        return


@pytest.mark.parametrize(
    ("xml", "error"),
    [
        (query(field("{urn:x}search", "x")), FeatureNotImplemented),
        (query(field("include-groupchat", "true")), FeatureNotImplemented),
        (query(field("with", "a@b") + field("with", "c@d")), BadRequest),
        (query(field("with", "@")), JidMalformed),
        (query(field("start", "2010-08-07")), BadRequest),
        (query(field("start", "2010-08-07T00:00:00")), BadRequest),
        (query(field("end", "99999-08-07T00:00:00Z")), BadRequest),
        (query(field("ids", *(str(BASE + each) for each in range(251)))), BadRequest),
        (query(rsm="<max>-1</max>"), BadRequest),
        (query(rsm="<max/>"), BadRequest),
        (query(rsm="<index>3</index>"), FeatureNotImplemented),
        (query(field("with", "a@b")).replace(b"type='submit'", b"type='form'"), BadRequest),
        (query(field("with", "a@b")).replace(b"urn:xmpp:mam:2</value>", b"urn:xmpp:mam:1</value>"), BadRequest),
        (query(field("with", "a@b")).replace(b"FORM_TYPE", b"X"), BadRequest),
    ],
)
def test_what_is_refused(xml: bytes, error: type[StanzaError]) -> None:
    with pytest.raises(error):
        read_query(parse(xml), 50, 250)


@pytest.mark.parametrize(("max", "wanted"), [("", 50), ("<max>7</max>", 7), ("<max>1000000000</max>", 250)])
def test_a_page_has_its_bounds(max: str, wanted: int) -> None:
    """Q04."""
    assert read_query(parse(query(rsm=max)), 50, 250).most == wanted
