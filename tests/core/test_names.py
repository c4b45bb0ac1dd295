"""XML names that strangers invent: they are not kept, and they lock nobody out."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from tests.harness import Harness, condition, xml
from xmppd import xml as trees
from xmppd.protocol import tokens
from xmppd.server import library_advice as libraries
from xmppd.stanza import TREES, Kind, Stanza
from xmppd.xml import E, alone, forgets, parse, to_bytes

GROWTH = """
import resource, sys
from xmppd.stanza import Kind, Stanza
from xmppd.xml import E, alone, parse, to_bytes
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
kept = []
def work(number, name):
    inside = b"<%b xmlns='urn:x:%b' a-%b='' xmlns:p-%b='urn:p:%b'/>" % ((name,) * 5)
    stanza = Stanza(Kind.IQ, "set", id="1", inside=inside)
    out = E("x", "urn:x", {}, alone(stanza.xml[0]))
    out.append(stanza.xml[0])
    assert name in to_bytes(out)
    return stanza
for number in range(2000):
    work(number, b"warm-%d" % (number % 50))
before = peak()
for number in range(60_000):
    stanza = work(number, b"n%d-" % number + b"x" * 200)
    if number % 100 == 0:
        kept.append(stanza)
    if number % 10 == 0:
        spaced = (b"<a xml:id='i%d-%d'> %b</a>" % (number, each, b" \\t" * each) for each in range(20))
        parse(b"<x>%b</x>" % b"".join(spaced))
print(peak() - before)
"""


def test_invented_names_do_not_stay() -> None:
    """60 MB of names, read, copied, moved to other trees; some of the stanzas are kept for long (as presences are)."""
    done = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, timeout=120, check=True)
    assert float(done.stdout) < 30, "megabytes"


def test_this_lxml_forgets_in_every_thread() -> None:
    assert forgets()
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(forgets()))
    thread.start()
    thread.join()
    assert found == [True]


def test_trees_of_different_dictionaries_meet() -> None:
    """What is read before and after may be mixed, as plugins do, and outlives both."""
    kept = E("all", "urn:all")
    for number in range(200):
        trees._reader.renew()
        tree = parse(b"<p:a%d xmlns:p='urn:p%d' p:b%d='c'><d%d/> </p:a%d>" % ((number,) * 5))
        kept.append(alone(tree) if number % 2 else tree)
    trees._reader.renew()
    again = parse(to_bytes(kept))
    assert [each.tag for each in again] == [f"{{urn:p{number}}}a{number}" for number in range(200)]
    assert to_bytes(again) == to_bytes(kept)
    assert kept.find("{urn:p7}a7") is not None


def test_a_stanza_that_is_kept_is_bytes_again() -> None:
    stanzas = [Stanza(Kind.MESSAGE, id=str(number), inside=b"<a xmlns='urn:x'/>") for number in range(3 * TREES)]
    for stanza in stanzas:
        assert stanza.xml is stanza.xml
    assert sum(stanza._tree is not None for stanza in stanzas) == TREES
    assert stanzas[0].xml[0].tag == "{urn:x}a"


@pytest.mark.parametrize(
    ("data", "tag"),
    [
        (b"<a xmlns='a b'><b/></a>", "{a b}a"),
        (b"<a xmlns='http://[x'><b xmlns:p='%zz' p:c=''/></a>", "{http://[x}a"),
        (b"<a xmlns='urn:x'><b xml:id='1 2'/><b xml:id='1 2'/></a>", "{urn:x}a"),
    ],
)
def test_what_expat_lets_pass_can_be_read(data: bytes, tag: str) -> None:
    """A stanza that is routed and stored must not be poison to who reads it later."""
    assert parse(data).tag == tag
    assert parse(to_bytes(parse(data))).tag == tag


@pytest.mark.parametrize(
    "data", [b"<a xmlns='a b'><b></a>", b"<a", b"", b"<a/><b/>", b"<a xmlns='a b'>&x;</a>", b"<p:a/>"]
)
def test_what_is_not_well_formed_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse(data)


async def test_new_names_lock_nobody_out(server: Harness) -> None:
    """After thousands of invented names every protocol still works, ours and those that nobody has used before."""
    romeo = await server.login("romeo", presence=True)
    juliet = await server.login("juliet", presence=True)
    await romeo.receive_all()
    for number in range(4000):
        romeo.send(
            "<message to='juliet@localhost' type='chat'>"
            f"<invented-{number} xmlns='urn:n:{number}' a{number}=''/></message>"
        )
        if number % 500 == 0:
            await server.advance(5)  # a stream may send so much per second
            await juliet.receive_all()
            romeo.send(
                f"<iq type='set' id='q{number}'><query xmlns='jabber:iq:private'>"
                f"<p{number} xmlns='urn:{number}'/></query></iq>"
            )
            assert (await romeo.receive()).get("type") == "result"
    await juliet.receive_all()
    romeo.send("<enable xmlns='urn:xmpp:sm:3'/>")
    assert (await romeo.receive()).tag == "{urn:xmpp:sm:3}enabled"
    romeo.send("<r xmlns='urn:xmpp:sm:3'/>")
    assert (await romeo.receive()).tag == "{urn:xmpp:sm:3}a"
    romeo.send("<a xmlns='urn:xmpp:sm:3' h='0'/>")
    romeo.send("<active xmlns='urn:xmpp:csi:0'/>")
    romeo.send(
        "<message to='juliet@localhost' type='chat'><body>x</body><never-seen xmlns='urn:never-seen'/></message>"
    )
    assert "never-seen" in xml(await juliet.receive())
    late = server.connect()
    await server.register("late")
    await late.sign_in("late")


async def test_a_long_name_is_answered_and_the_stream_goes_on(server: Harness) -> None:
    """Message and IQ get an error (RFC 6120 section 8.3.3.12); a presence goes nowhere."""
    romeo = await server.login("romeo")
    long = "n" * 600
    romeo.send(f"<message to='juliet@localhost' id='1'><{long} xmlns='urn:x'/></message>")
    assert condition(await romeo.receive()) == "policy-violation"
    romeo.send(f"<iq type='get' to='localhost' id='2'><x xmlns='urn:{long}'/></iq>")
    assert condition(await romeo.receive()) == "policy-violation"
    romeo.send(f"<presence><x xmlns='urn:x' {long}=''/></presence>")
    await romeo.receive_all()
    assert (await romeo.iq("<ping xmlns='urn:xmpp:ping'/>", to="localhost")).get("type") == "result"


def test_what_the_libraries_lack_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "EXPAT_VERSION", "expat_2.5.0")
    monkeypatch.setattr(tokens, "defers", lambda: False)
    monkeypatch.setattr(libraries, "forgets", lambda: False)
    expat, lxml = libraries.advice()
    assert "expat 2.5.0" in expat and "libexpat1" in expat
    assert lxml.startswith("lxml ")
