"""What Prosody or ejabberd have stored, and is not as it must be: it costs itself, is told, and all else is carried."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from xmppd.moving.events import Begin, Event, Part, Problem
from xmppd.moving.sources import open_source

SCRAM = 'return {["salt"]="x";["stored_key"]="%s";["server_key"]="%s";["iteration_count"]=%s;};'
PENCIL = 'return {["password"]="pencil";};'


def found(path: Path) -> list[Event]:
    return list(open_source(path)[1].events())


def told(events: list[Event]) -> str:
    return "\n".join(event.what for event in events if isinstance(event, Problem))


def prosody(folder: Path, files: dict[str, bytes]) -> Path:
    """Two people, and more files."""
    for name, data in {"accounts/a.dat": PENCIL.encode(), "accounts/b.dat": PENCIL.encode(), **files}.items():
        path = folder / "localhost" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("accounts/a.dat", (SCRAM % ("a" * 40, "a" * 40, "1e999")).encode()),
        ("roster/a.dat", rb'return {["a\0@b"]={["subscription"]="both"}; [false]={["pending"]={["x\1"]=true}}};'),
        ("archive_prefs/a.dat", rb'return {[false]={}; ["\0"]=true};'),
        ("pep/a.dat", rb'return {["n\0"]={["config"]={["max_items"]=1e999;["title"]={1,{}}};["subscribers"]=5}};'),
        ("pep/a.dat", rb'return {["n"]={["config"]={["max_items"]=(0/0)};["affiliations"]={["\0"]={}}}};'),
        ("privacy/a.dat", rb'return {["lists"]={["a"]={["items"]={{["order"]=1e999}}};["b"]={["items"]=5}}};'),
        ("roster/a.dat", b"return 5;"),
        ("roster/a.dat", b"return {" * 100_000),
        ("roster/a.dat", b'os.execute("id") return {};'),
        ("roster/a.dat", b'return {["a@b"]=(function() while true do end end)()};'),
        ("archive/a.list", b"item({when=1e999;name='message'});item(5);item({when=5;name='mess\\0'});"),
    ],
)
def test_one_record_of_prosody(name: str, data: bytes, tmp_path: Path) -> None:
    events = found(prosody(tmp_path, {name: data}))
    assert [event.local for event in events if isinstance(event, Begin)] == ["a", "b"]


def test_a_broken_table_is_told(tmp_path: Path) -> None:
    assert "no table" in told(found(prosody(tmp_path, {"roster/a.dat": b"return 5;"})))


@pytest.mark.parametrize("text", [b'"' + b"x" * 12_000_000 + b'"', b'"' + rb"\n" * 6_000_000 + b'"'])
@pytest.mark.parametrize("kind", ["lua", "erlang"])
def test_a_large_text_needs_little_more_than_its_size(kind: str, text: bytes, tmp_path: Path) -> None:
    """The engine of patterns could remember every byte."""
    data = b"return {%s}" % text if kind == "lua" else text
    (tmp_path / "data").write_bytes(data)
    call = {"lua": "lua import parse_value as parse", "erlang": "erlang import parse_term as parse"}[kind]
    code = (
        f"import resource, pathlib\nfrom xmppd.moving.{call}\n"
        "size = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\nbefore = size()\n"
        "parse(pathlib.Path('data').read_bytes())\nprint(size() - before)"
    )
    env = {"PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, check=True, capture_output=True)
    assert int(done.stdout) * 1024 < 10 * len(text)


def dump(folder: Path, *records: bytes) -> Path:
    path = folder / "dump.txt"
    people = [b'{passwd,{<<"%s">>,<<"localhost">>},<<"pencil">>}.\n' % name for name in (b"a", b"b")]
    path.write_bytes(b"{tables,[]}.\n" + b"".join(people) + b"\n".join(records) + b"\n")
    return path


MESSAGE = b'{archive_msg,{<<"a">>,<<"localhost">>},<<"%s">>,{%s},x,y,{xmlel,<<"message">>,[],[]},z,z}.'
NODE = b'{pubsub_node,{<<"pubsub.localhost">>,<<"x">>},7,[],<<>>,[],[]}.'


@pytest.mark.parametrize(
    "record",
    [
        b'{passwd,{<<"a">>,<<"localhost">>}}.',
        MESSAGE % (b"1", b"1.0e999,1,1"),
        MESSAGE % (b"1", b"9" * 90 + b",1,1"),
        MESSAGE % (b"1", b"{},1,1"),
        b'{archive_msg,{<<"a">>,<<"localhost">>},<<"1">>}.',
        rb'{private_storage,{<<"a">>,<<"localhost">>,<<"x">>},<<"\x{FFFFFFFF}">>}.',
        b'{private_storage,{<<"a">>,<<"localhost">>},' + b"[" * 100_000 + b"}.",
        NODE + b'\n{pubsub_item,{<<"a">>,7},7,x,{{1.0e999,1,1},{a,b}},[{xmlel,<<"x">>,[],[]}]}.',
        NODE + b"\n{pubsub_state,{{},7},7}.",
        b'{vcard,{<<"a">>,<<"localhost">>},<<"' + b"x" * (16 << 20) + b'">>}.',
    ],
)
def test_one_record_of_ejabberd(record: bytes, tmp_path: Path) -> None:
    events = found(dump(tmp_path, record, MESSAGE % (b"2", b"1700,1,1")))
    people = [event.local for event in events if isinstance(event, Begin) and event.local]
    assert people == ["a", "b"]
    assert sum(isinstance(event, Part) and "archive" in event.element.tag for event in events) == 1, "the good one"
    assert told(events) or b"{passwd" in record


def test_an_account_whose_name_looks_like_a_number_of_a_node(tmp_path: Path) -> None:
    path = dump(tmp_path, b'{passwd,{<<"#5">>,<<"localhost">>},<<"pencil">>}.')
    assert Begin(found(path)[0].kind, "#5", "localhost", "pencil") in found(path)  # type: ignore[union-attr]


# ---- XML

BEGIN = b"<server-data xmlns='urn:xmpp:pie:0' xmlns:xi='http://www.w3.org/2001/XInclude'>"
PEOPLE = b"<host jid='localhost'><user name='a' password='p'>%s</user><user name='b'/></host>"


def xml(folder: Path, inside: bytes) -> list[Event]:
    (folder / "data.xml").write_bytes(BEGIN + inside + b"</server-data>")
    return found(folder / "data.xml")


@pytest.mark.parametrize(
    "giant",
    [b"<vCard xmlns='vcard-temp' a='%s'/>", b"<!--%s-->", b"<?x %s?>", b"<%s/>"],
    ids=["attribute", "comment", "pi", "name"],
)
def test_what_expat_would_read_again_and_again(giant: bytes, tmp_path: Path) -> None:
    """Its time would grow with the square: twelve minutes for 200 MB."""
    events = xml(tmp_path, PEOPLE % (giant % (b"x" * 30_000_000)))
    assert "too large" in told(events)


def test_attributes_beyond_counting(tmp_path: Path) -> None:
    many = b" ".join(b"a%d=''" % number for number in range(40_000))
    events = xml(tmp_path, PEOPLE % (b"<vCard xmlns='vcard-temp'><FN %s>x</FN></vCard>" % many))
    assert "too large" in told(events)
    assert [event.local for event in events if isinstance(event, Begin)] == ["a", "b"]


def test_files_that_include_themselves(tmp_path: Path) -> None:
    """Each is read once: a hundred includes, four deep, would be a hundred millions."""
    events = xml(tmp_path, b"<xi:include href='data.xml'/>" * 100 + PEOPLE % b"")
    assert len(events) == 102
    assert "read already" in told(events)


@pytest.mark.parametrize("href", ["%00", "http://[/", "folder", "pipe", "nothing.xml", "/etc/hostname"])
def test_includes_that_are_no_files(href: str, tmp_path: Path) -> None:
    """They cost nothing else."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    events = xml(tmp_path, f"<xi:include href='{href}'/>".encode() + PEOPLE % b"")
    assert "it includes" in told(events)
    assert [event.local for event in events if isinstance(event, Begin)] == ["a", "b"]


def test_an_encoding_that_nobody_knows(tmp_path: Path) -> None:
    (tmp_path / "data.xml").write_bytes(b"<?xml version='1.0' encoding='utf-7'?>" + BEGIN)
    assert "encoding" in told(found(tmp_path / "data.xml"))
