"""RFC 7622: one form of every address, or none (torture table R09)."""

from __future__ import annotations

import copy
import pickle
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xmppd import jid as module
from xmppd.errors import MalformedJid
from xmppd.jid import JID, PART_OCTETS, prepare_nick

LONG_DOMAIN = ".".join(["a" * 63] * 15 + ["b" * 63])  # 1023 octets

ONE_FORM = [
    # RFC 7622 section 3.5, table 1
    ("juliet@example.com", "juliet@example.com"),
    ("juliet@example.com/foo", "juliet@example.com/foo"),
    ("juliet@example.com/foo bar", "juliet@example.com/foo bar"),
    ("juliet@example.com/foo@bar", "juliet@example.com/foo@bar"),
    ("foo\\20bar@example.com", "foo\\20bar@example.com"),
    ("fussball@example.com", "fussball@example.com"),
    ("fußball@example.com", "fußball@example.com"),
    ("π@example.com", "π@example.com"),
    ("Σ@example.com/foo", "σ@example.com/foo"),
    ("σ@example.com/foo", "σ@example.com/foo"),
    ("ς@example.com/foo", "ς@example.com/foo"),
    ("king@example.com/♚", "king@example.com/♚"),
    ("example.com", "example.com"),
    ("example.com/foobar", "example.com/foobar"),
    ("a.example.com/b@example.net", "a.example.com/b@example.net"),
    # case, form, width
    ("Romeo@Example.COM/Orchard", "romeo@example.com/Orchard"),
    ("ｒｏｍｅｏ@ｅｘａｍｐｌｅ.com", "romeo@example.com"),
    ("cafe\u0301@example.com/cafe\u0301", "café@example.com/café"),
    ("\u212a@example.com", "k@example.com"),  # KELVIN SIGN
    ("ıstanbul@example.com", "ıstanbul@example.com"),  # dotless i is not i
    ("İ@example.com", "i̇@example.com"),
    # domains
    ("a@b.", "a@b"),
    ("a@b./r", "a@b/r"),
    ("a@example。com", "a@example.com"),
    ("a@xn--bcher-kva.example", "a@bücher.example"),
    ("a@XN--BCHER-KVA.example", "a@bücher.example"),
    ("a@BÜCHER.example", "a@bücher.example"),
    ("a@bu\u0308cher.example", "a@bücher.example"),
    ("a@straße.example", "a@straße.example"),
    ("a@exa\u00admple.com", "a@example.com"),
    ("a@my_host.lan", "a@my_host.lan"),
    ("a@r3---sn.example", "a@r3---sn.example"),
    ("a@127.0.0.1", "a@127.0.0.1"),
    ("a@[127.0.0.1]", "a@127.0.0.1"),
    ("a@[0:0:0:0:0:0:0:1]/r", "a@[::1]/r"),
    ("[2001:DB8::A]", "[2001:db8::a]"),
    # resources: spaces, separators, symbols, what stringprep removed, contexts of PRECIS
    ("a@b/ ", "a@b/ "),
    ("a@b//", "a@b//"),
    ("a@b/\u3000x", "a@b/ x"),
    ("a@b/\"&'<>", "a@b/\"&'<>"),
    ("a@b/❤\ufe0f", "a@b/❤"),
    ("a@b/👩\u200d💻", "a@b/👩💻"),
    ("a@b/ro\u00admeo", "a@b/romeo"),
    ("a@b/می\u200cخواهم", "a@b/می\u200cخواهم"),  # a joiner where Persian needs it
    ("a@b/e\u200b\u0301", "a@b/é"),
    ("a@b/محمـد", "a@b/محمـد"),
    ("a@b/a·b", "a@b/a·b"),
    ("a@b/ㅋㅋ", "a@b/ㅋㅋ"),
    ("a@b/\U0001fae8", "a@b/\U0001fae8"),  # emoji of Unicode 15
    ("אב@example.com", "אב@example.com"),
    # lengths
    ("a" * 1023 + "@b/" + "c" * 1023, "a" * 1023 + "@b/" + "c" * 1023),
    ("a@" + LONG_DOMAIN, "a@" + LONG_DOMAIN),
    ("a@b/" + "u\u0308" * 511, "a@b/" + "ü" * 511),
]

NO_FORM = [
    # RFC 7622 section 3.5, table 2
    '"juliet"@example.com',
    "foo bar@example.com",
    "@example.com/",
    "henry\u2163@example.com",
    "♚@example.com",
    "juliet@",
    "/foobar",
    # empty parts
    "",
    "@",
    "/",
    "@example.com",
    "a@b/",
    "b/",
    ".",
    "a@.",
    "a@b..",
    "a@.b",
    "a@b..c",
    # excluded from localparts, also in disguise
    *(f"a{char}b@example.com" for char in "\"&':<>"),
    "a@b@example.com",
    "a＠b@example.com",
    "a＆b@example.com",
    "a／b@example.com",
    # controls, NUL, noncharacters, surrogates, private use, unassigned, bidi
    *(f"{char}@example.com" for char in "\0\t\n\x7f\x80\u2028\ufffe\ufdd0\ud800\ue000\u0378\U000e0001"),
    *(f"a@b/x{char}" for char in "\0\t\n\x7f\x80\u202e\u200e\u2066\ufffe\ufdd0\ud800\ue000\u0378\u1100"),
    *(f"a@b{char}c" for char in "\0\t\n\x7f \ufffe\ud800\ue000\u202e\u2028\"&'<>:!#$%*+,;=?`~"),
    "אa@example.com",  # right to left and left to right in one localpart
    "1א@example.com",
    "ro\u00admeo@example.com",
    "a\u200db@example.com",
    "ﬁ@example.com",  # a ligature
    # domains
    "a@-b.example",
    "a@b-.example",
    "a@xn--",
    "a@xn--a-.example",
    "a@xn--zzzzzzzzzz99999.example",
    "a@xn--BÜcher.example",
    "a@☃.example",
    "a@" + "a" * 64,
    "a@" + "ü" * 63,
    "a@[::1",
    "a@[::1]]",
    "a@[[::1]",
    "a@[]",
    "a@::1",
    "a@[fe80::1%eth0]",
    "a@[::1]:5222",
    "a@b:5222",
    # lengths
    "a" * 1024 + "@b",
    "a@b/" + "c" * 1024,
    "a@" + LONG_DOMAIN + "c",
    "a@" + LONG_DOMAIN + ".c",
    "ü" * 512 + "@b",
    "a@b/" + "ü" * 512,
    "a@b/" + "c" * 100_000,
]


@pytest.mark.parametrize(("text", "full"), ONE_FORM)
def test_an_address_has_one_form(text: str, full: str) -> None:
    assert str(JID.parse(text)) == full
    assert JID.parse(full) == JID.parse(text)
    assert hash(JID.parse(full)) == hash(JID.parse(text))


@pytest.mark.parametrize("text", NO_FORM)
def test_no_address(text: str) -> None:
    for _ in range(2):  # a failure is not remembered as anything else
        with pytest.raises(MalformedJid):
            JID.parse(text)


@pytest.mark.parametrize(
    ("one", "other"), [("straße", "strasse"), ("ı", "i"), ("ς", "σ"), ("а", "a"), ("café", "cafe")]
)
def test_what_stays_different(one: str, other: str) -> None:
    assert JID.parse(f"{one}@example.com") != JID.parse(f"{other}@example.com")


def test_parts() -> None:
    jid = JID.parse("Romeo@Example.com/Or@chard/2")
    assert (jid.local, jid.domain, jid.resource) == ("romeo", "example.com", "Or@chard/2")
    assert (jid.bare, jid.full) == ("romeo@example.com", "romeo@example.com/Or@chard/2")
    assert (jid.is_bare, jid.is_domain) == (False, False)
    bare = jid.to_bare()
    assert bare == JID.parse("romeo@example.com") and bare.resource == ""
    assert (bare.is_bare, bare.is_domain) == (True, False)
    assert jid.to_bare() is bare and bare.to_bare() is bare
    domain = JID.parse("example.com")
    assert (domain.local, domain.bare, domain.is_bare, domain.is_domain) == ("", "example.com", True, True)
    assert JID.parse("example.com/r").is_domain is False
    assert jid != "romeo@example.com/Or@chard/2"


def test_of_separated_parts() -> None:
    assert JID.of("Romeo", "EXAMPLE.com", "x") == JID.parse("romeo@example.com/x")
    assert JID.of("", "example.com") == JID.parse("example.com")
    for parts in [("a@b", "c"), ("a", "b@c"), ("a", "b/c"), ("a/b", "c"), ("a", ""), (" ", "b"), ("a", "b", "\0")]:
        with pytest.raises(MalformedJid):
            JID.of(*parts)


def test_with_resource() -> None:
    jid = JID.parse("a@b/one")
    assert jid.with_resource("t/w@o") == JID.parse("a@b/t/w@o")
    for resource in ("", "\0", "x" * 1024):
        with pytest.raises(MalformedJid):
            jid.with_resource(resource)


def test_immutable_and_copied() -> None:
    jid = JID.parse("a@b/c")
    with pytest.raises(AttributeError):
        jid.local = "x"
    with pytest.raises(AttributeError):
        del jid.local
    with pytest.raises(TypeError):
        JID()
    assert pickle.loads(pickle.dumps(jid)) == jid
    assert copy.deepcopy(jid) is jid and copy.copy(jid) is jid


def test_the_cache_is_bounded_and_keeps_what_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CACHE_SIZE", 20)
    monkeypatch.setattr(module, "_recent", {})
    monkeypatch.setattr(module, "_older", {})
    used = JID.parse("used@example.com")
    for number in range(200):
        JID.parse(f"a{number}@example.com")
        assert JID.parse("used@example.com") is used
        assert len(module._recent) + len(module._older) <= 20
    JID.parse("a@b/" + "x" * 1000)
    with pytest.raises(MalformedJid):
        JID.parse("a@")
    assert not any(len(text) > module.CACHED_LENGTH or text == "a@" for text in module._recent)


NASTY = st.text(
    st.one_of(
        st.sampled_from("aAüÜßİıςΣ.@/[]:-_ xn\u0301\u200c\u200d\u00ad\u3002ＡＢ＠ﬁא1٣·ـㅋ\0\ud800\ufe0f❤"),
        st.characters(),
        st.characters(codec="ascii"),
    ),
    max_size=40,
)


@given(st.one_of(NASTY, st.tuples(NASTY, NASTY, NASTY).map(lambda p: f"{p[0]}@{p[1]}/{p[2]}")))
@example("a@\u0345\u0345")
@example("xn--a@xn--a/xn--a")
def test_parse_is_idempotent_and_raises_one_thing(text: str) -> None:
    try:
        jid = JID.parse(text)
    except MalformedJid:
        return
    assert JID.parse(str(jid)) == jid
    assert module._parse(jid.full).full == jid.full
    assert JID.of(jid.local, jid.domain, jid.resource) == jid
    for part in (jid.local, jid.domain, jid.resource):
        assert len(part.encode()) <= PART_OCTETS
        assert unicodedata.normalize("NFC", part) == part


@given(st.text(st.characters(min_codepoint=0x80, exclude_categories=["Cs"]), min_size=1, max_size=5))
def test_both_spellings_of_a_domain_are_one(label: str) -> None:
    """Of a label in Unicode and of what its punycode makes an A-label."""
    ascii_label = "xn--" + label.encode("punycode").decode()
    try:
        jid = JID.parse(ascii_label)
    except MalformedJid:
        return
    assert jid.domain == label
    assert JID.parse(label) == jid


@given(st.text(st.characters(codec="ascii"), max_size=30), st.sampled_from("ü.é"))
def test_the_short_way_for_ascii_is_the_long_way(text: str, other: str) -> None:
    """A resource beyond ASCII forces the long way; the bare address must come out the same."""
    if "/" in text:
        return

    def parsed(text: str) -> str | None:
        try:
            return module._parse(text).bare
        except MalformedJid:
            return None

    assert parsed(text) == parsed(f"{text}/ü")
    assert parsed(text) == parsed(f"{text}/r")


@pytest.mark.parametrize(
    ("nick", "key"),
    [
        ("Alice", "alice"),
        ("  Alice   B ", "alice b"),
        ("Ａｌｉｃｅ", "alice"),
        ("ﬁsh", "fish"),
        ("Æther", "æther"),
        ("e\u0301", "é"),
        ("al\u00adice", "alice"),
        ("❤\ufe0f", "❤"),
        ("x\u00a0y", "x y"),
    ],
)
def test_nicks_that_read_alike(nick: str, key: str) -> None:
    assert prepare_nick(nick) == key
    assert prepare_nick(key) == key


def test_nicks_in_hangul_are_nicks() -> None:
    assert prepare_nick("ㅋㅋ") != prepare_nick("ㅎㅎ")


@pytest.mark.parametrize("nick", ["", " ", "\u3000", "\u00ad", "\0", "a\nb", "\u202ea", "x" * 5000])
def test_no_nick(nick: str) -> None:
    with pytest.raises(MalformedJid):
        prepare_nick(nick)


@given(NASTY)
def test_prepare_nick_raises_one_thing(text: str) -> None:
    try:
        key = prepare_nick(text)
    except MalformedJid:
        return
    assert key.strip(" ") == key and key


def _found(prepare: Callable[[str], str], text: str) -> str | None:
    try:
        return prepare(text)
    except MalformedJid:
        return None


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=70))
@example("a" * PART_OCTETS)
@example("a" * (PART_OCTETS + 1))
@example("a\n")
def test_a_plain_localpart_is_what_precis_makes_of_it(text: str) -> None:
    """The short way and the long one agree."""

    def precis(text: str) -> str:
        try:
            local = module._username.enforce(text)
        except ValueError:
            raise MalformedJid("") from None
        if module._excluded(local):
            raise MalformedJid("")
        return module._measured(local, "")

    assert _found(module.prepare_local, text) == _found(precis, text)


@given(st.text("abXZ09-_.xn", max_size=70))
@example(".".join(["a" * 60] * 17))
@example(".".join(["a" * 60] * 16) + ".")
@example("a" * 63 + ".")
@example("a" * 64)
@example("localhost\n")
@example("XN--mnchen-3ya.de")
def test_a_plain_domain_is_what_idna_makes_of_it(text: str) -> None:
    def labels(text: str) -> str:
        try:
            return module._measured(module._labels(text), "")
        except ValueError:
            raise MalformedJid("") from None

    assert _found(module.prepare_domain, text) == _found(labels, text)
