"""One telephone, one form; and what is stored of it."""

from __future__ import annotations

import pytest

from plugins.phone.numbers import Hasher, e164
from plugins.phone.options import Config
from xmppd.errors import NotAcceptable

SAME = (
    "+4915112345678",
    "+49 151 12345678",
    "+49 (0)151 12345678",
    "0151/123 456-78",
    " +49-151.1234.5678 ",
    "004915112345678",
)


@pytest.mark.parametrize("text", SAME)
def test_ways_to_write_it(text: str) -> None:
    assert e164(text, "DE", ("DE",)) == "+4915112345678"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "+",
            "+49",
            "0151 12345678",
            "+49 30 901820",
            "+49 900 1234567",
            "+49 800 1234567",
            "112",
            "+1-800-FLOWERS",
        ),
        *("tel:+4915112345678", "+4915112345678;ext=5", "+4915112345678 x5", "+49151123456780000", "+49１５１12345678"),
        *(
            "+4915112345678\n+4915112345679",
            "+4915112345678,",
            "+٤٩15112345678",
            "+49151\u200b12345678",
            "+" + "1" * 5000,
        ),
        *("+999999999999", "+54 11 4123 4567", "+49151 12345678\x00", "++4915112345678"),
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(NotAcceptable) as error:
        e164(text, "", ())
    assert text not in error.value.text or not text.strip("+0123456789 "), "what came is not sent back"


def test_countries() -> None:
    assert e164("+447911123456", "", ()) == "+447911123456"
    with pytest.raises(NotAcceptable, match="of that country"):
        e164("+447911123456", "", ("DE", "AT"))
    assert e164("+1 415 555 2671", "", ("US",)), "landline or mobile: nobody can tell in America"


def test_hashes_of_another_key_or_host_are_others() -> None:
    made = [Hasher(key, domain) for key in (b"a" * 32, b"b" * 32) for domain in ("a.example", "b.example")]
    for what in ("salt", "check"):
        assert len({getattr(each, what) for each in made}) == 4
    assert len({each.number("+4915112345678") for each in made}) == 4
    one = made[0]
    assert len({one.code("n", "register", "1"), one.code("n", "attach x", "1"), one.code("m", "register", "1")}) == 3
    assert "a" * 32 not in repr(one)


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"sender": "webhook"}, ["webhook", "webhook_secret"]),
        ({"sender": "webhook", "webhook": "ftp://x", "webhook_secret": "s" * 16}, ["webhook"]),
        ({"key": "short"}, ["key"]),
        ({"region": "Germany", "regions": ("DE", "at")}, ["region", "regions"]),
        ({"text": "no code"}, ["text"]),
        ({"text": "{code} {number}"}, ["text"]),
        ({"text": "{code"}, ["text"]),
        ({}, []),
    ],
)
def test_options_that_cannot_be(options: dict[str, object], where: list[str]) -> None:
    assert [each for each, _ in Config(**options).check()] == where  # type: ignore[arg-type]
