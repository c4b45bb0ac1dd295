"""Server dialback: keys and elements (XEP-0220, XEP-0185)."""

from __future__ import annotations

import pytest

from xmppd.errors import LocalError, StreamError
from xmppd.protocol.dialback import FEATURE, FEATURE_NS, LONGEST, RESULT, Dialback, DialbackKeys, has_errors
from xmppd.protocol.framing import SERVER_STREAM
from xmppd.protocol.header import DIALBACK_NS, SERVER_NS, STREAM_NS
from xmppd.protocol.items import BEFORE_SIGN_IN, Nonza

CAPULET, MONTAGUE = "capulet.example", "montague.example"
KEY = "225cc5aa6a071133249d25fef42ae516fc7a86c523aa1c6980a7f73e784c972d"
NOT_FOUND = "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
HEADER = f"<stream:stream xmlns='{SERVER_NS}' xmlns:stream='{STREAM_NS}' xmlns:db='{DIALBACK_NS}'>"


def received(raw: str | bytes, header: str = HEADER) -> Nonza:
    """As the stream of a server gives it."""
    parser = SERVER_STREAM.parser(BEFORE_SIGN_IN)
    _, item = parser.feed(header.encode() + (raw.encode() if isinstance(raw, str) else raw))
    assert parser.fault is None
    assert isinstance(item, Nonza)
    return item


def read(raw: str | bytes, header: str = HEADER) -> Dialback:
    return Dialback.read(received(raw, header))


# ---- keys


@pytest.mark.parametrize(
    ("secret", "receiving", "originating", "stream_id", "key"),
    [
        (  # XEP-0185 section 3
            b"s3cr3tf0rd14lb4ck",
            "xmpp.example.com",
            "example.org",
            "D60000229F",
            "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643",
        ),
        (  # XEP-0220 section 2.1.1
            b"s3cr3tf0rd14lb4ck",
            MONTAGUE,
            CAPULET,
            "D60000229F",
            "b4835385f37fe2895af6c196b59097b16862406db80559900d96bf6fa7d23df3",
        ),
        (b"d14lb4ck43v3r", CAPULET, MONTAGUE, "417GAF25", KEY),  # XEP-0220 section 2.2.2
    ],
)
def test_keys_of_the_specifications(secret: bytes, receiving: str, originating: str, stream_id: str, key: str) -> None:
    keys = DialbackKeys(secret)
    assert keys.key(receiving, originating, stream_id) == key
    assert keys.is_valid(key, receiving, originating, stream_id)


@pytest.mark.parametrize(
    ("key", "receiving", "originating", "stream_id"),
    [
        (KEY[:-1], CAPULET, MONTAGUE, "417GAF25"),
        (KEY.upper(), CAPULET, MONTAGUE, "417GAF25"),
        ("ä" * 64, CAPULET, MONTAGUE, "417GAF25"),
        ("", CAPULET, MONTAGUE, "417GAF25"),
        (KEY, MONTAGUE, CAPULET, "417GAF25"),
        (KEY, CAPULET, MONTAGUE, "417GAF26"),
        (KEY, CAPULET, f"rooms.{MONTAGUE}", "417GAF25"),
    ],
)
def test_other_keys_are_not_valid(key: str, receiving: str, originating: str, stream_id: str) -> None:
    assert not DialbackKeys(b"d14lb4ck43v3r").is_valid(key, receiving, originating, stream_id)


def test_there_is_a_secret() -> None:
    assert not DialbackKeys(b"other").is_valid(KEY, CAPULET, MONTAGUE, "417GAF25")
    with pytest.raises(ValueError, match="secret"):
        DialbackKeys(b"")


# ---- the four steps


def test_a_negotiation_from_both_ends() -> None:
    """XEP-0220 section 1.4: the key that goes round is known again, and each answer belongs to its request."""
    keys = DialbackKeys(b"d14lb4ck43v3r")
    asked = Dialback("result", MONTAGUE, CAPULET, keys.key(CAPULET, MONTAGUE, "417GAF25"))
    request = read(asked.written())
    assert request == asked
    verify = read(request.verification("417GAF25").written())
    assert (verify.name, verify.sender, verify.to, verify.id) == ("verify", CAPULET, MONTAGUE, "417GAF25")
    assert keys.is_valid(verify.key, verify.sender, verify.to, verify.id)
    verified = read(verify.answer("valid").written())
    assert (verified.sender, verified.to, verified.id, verified.type) == (MONTAGUE, CAPULET, "417GAF25", "valid")
    assert verified.exchange == request.verification("417GAF25").exchange
    result = read(request.answer("valid").written())
    assert (result.sender, result.to, result.type, result.key) == (CAPULET, MONTAGUE, "valid", "")
    assert result.exchange == asked.exchange


def test_what_no_one_has_asked_is_of_no_exchange() -> None:
    """Section 3.1."""
    asked = Dialback("verify", CAPULET, MONTAGUE, KEY, id="417GAF25")
    answer = asked.answer("valid")
    for other in (
        Dialback("result", MONTAGUE, CAPULET, type="valid"),
        Dialback("verify", CAPULET, MONTAGUE, type="valid", id="417GAF25"),
        Dialback("verify", MONTAGUE, CAPULET, KEY, id="417GAF25"),
        Dialback("verify", MONTAGUE, CAPULET, type="valid", id="417GAF26"),
        Dialback("verify", MONTAGUE, f"rooms.{CAPULET}", type="valid", id="417GAF25"),
    ):
        assert other.exchange != asked.exchange
    assert answer.exchange == asked.exchange


# ---- as written


def test_elements_are_those_of_the_specification() -> None:
    """XEP-0220 examples 1 to 8."""
    start = f"from='{CAPULET}' to='{MONTAGUE}'"
    back = f"from='{MONTAGUE}' to='{CAPULET}'"
    result = Dialback("result", CAPULET, MONTAGUE, KEY)
    verify = Dialback("verify", CAPULET, MONTAGUE, KEY, id="417GAF25")
    for made, data in (
        (result, f"<db:result {start}>{KEY}</db:result>"),
        (result.answer("valid"), f"<db:result {back} type='valid'/>"),
        (result.answer("invalid"), f"<db:result {back} type='invalid'/>"),
        (result.answer("error", "item-not-found"), f"<db:result {back} type='error'>{NOT_FOUND}</db:result>"),
        (verify, f"<db:verify {start} id='417GAF25'>{KEY}</db:verify>"),
        (verify.answer("valid"), f"<db:verify {back} id='417GAF25' type='valid'/>"),
        (verify.answer("invalid"), f"<db:verify {back} id='417GAF25' type='invalid'/>"),
        (
            verify.answer("error", "item-not-found"),
            f"<db:verify {back} id='417GAF25' type='error'>{NOT_FOUND}</db:verify>",
        ),
    ):
        assert made.written().decode() == data
        assert read(data) == made


def test_what_others_have_chosen_is_escaped() -> None:
    made = Dialback("verify", CAPULET, MONTAGUE, "<&'\">", id="'><a b=\"\n&")
    assert read(made.written()) == made


def test_only_requests_are_answered_and_errors_have_a_condition() -> None:
    request = Dialback("result", CAPULET, MONTAGUE, KEY)
    for type, condition in (("valid", "forbidden"), ("error", ""), ("error", "remote-connection-failed")):
        with pytest.raises(LocalError):
            request.answer(type, condition)  # type: ignore[arg-type]
    with pytest.raises(LocalError):
        request.answer("valid").answer("valid")


# ---- as read


def test_whatever_the_prefix() -> None:
    for raw in (
        f"<db:result from='{CAPULET}' to='{MONTAGUE}'>{KEY}</db:result>",
        f"<result xmlns='{DIALBACK_NS}' from='{CAPULET}' to='{MONTAGUE}'>{KEY}</result>",
        f"<d:result xmlns:d='{DIALBACK_NS}' from='{CAPULET}' to='{MONTAGUE}'>{KEY}</d:result>",
    ):
        assert read(raw) == Dialback("result", CAPULET, MONTAGUE, KEY)


def test_domains_are_in_their_one_form_and_keys_without_the_white_space_around() -> None:
    assert read(f"<db:result from='Capulet.Example.' to='XN--MNCHEN-3YA.example'>\n  {KEY}\n</db:result>") == Dialback(
        "result", CAPULET, "münchen.example", KEY
    )


@pytest.mark.parametrize(
    ("raw", "condition"),
    [
        (f"<db:result to='{MONTAGUE}'>{KEY}</db:result>", "improper-addressing"),
        (f"<db:result from='{CAPULET}'>{KEY}</db:result>", "improper-addressing"),
        (f"<db:result from='' to='{MONTAGUE}'>{KEY}</db:result>", "improper-addressing"),
        (f"<db:result from='juliet@{CAPULET}' to='{MONTAGUE}'>{KEY}</db:result>", "improper-addressing"),
        (f"<db:result from='{CAPULET}' to='{MONTAGUE}/x'>{KEY}</db:result>", "improper-addressing"),
        (f"<db:result from='{CAPULET}' to='a b'>{KEY}</db:result>", "improper-addressing"),
        (f"<db:result from='{'a.' * 600}' to='{MONTAGUE}'>{KEY}</db:result>", "improper-addressing"),
        (f"<db:verify from='{CAPULET}' to='{MONTAGUE}'>{KEY}</db:verify>", "bad-format"),
        (f"<db:verify from='{CAPULET}' to='{MONTAGUE}' type='valid'/>", "bad-format"),
        (f"<db:verify from='{CAPULET}' to='{MONTAGUE}' id=''>{KEY}</db:verify>", "bad-format"),
        (f"<db:verify from='{CAPULET}' to='{MONTAGUE}' id='1'> </db:verify>", "bad-format"),
        (f"<db:result from='{CAPULET}' to='{MONTAGUE}'/>", "bad-format"),
        (f"<db:result from='{CAPULET}' to='{MONTAGUE}'>{KEY}<x xmlns='y'/></db:result>", "bad-format"),
        (f"<db:result from='{CAPULET}' to='{MONTAGUE}' type='maybe'>{KEY}</db:result>", "bad-format"),
        (f"<db:other from='{CAPULET}' to='{MONTAGUE}'>{KEY}</db:other>", "bad-format"),
        (f"<result xmlns='x' from='{CAPULET}' to='{MONTAGUE}'>{KEY}</result>", "bad-format"),
        (f"<db:result from='{CAPULET}' to='{MONTAGUE}'>{'x' * (LONGEST + 1)}</db:result>", "policy-violation"),
        (
            f"<db:verify from='{CAPULET}' to='{MONTAGUE}' id='{'x' * (LONGEST + 1)}' type='valid'/>",
            "policy-violation",
        ),
    ],
)
def test_malformed_ones_end_the_stream(raw: str, condition: str) -> None:
    with pytest.raises(StreamError) as caught:
        read(raw)
    assert caught.value.condition == condition


@pytest.mark.parametrize(
    ("inside", "condition"),
    [
        (NOT_FOUND, "item-not-found"),
        (NOT_FOUND.replace("item-not-found", "remote-connection-failed"), "remote-connection-failed"),
        (
            NOT_FOUND.replace("<item", "<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>x</text><item"),
            "item-not-found",
        ),
        (NOT_FOUND.replace("<error", f"<error xmlns='{DIALBACK_NS}'"), "item-not-found"),
        (NOT_FOUND.replace("item-not-found", "x" * 60), "undefined-condition"),
        (NOT_FOUND.replace("item-not-found", "ä"), "undefined-condition"),
        ("<error type='cancel'><item-not-found xmlns='x'/></error>", "undefined-condition"),
        ("<error type='cancel'/>", "undefined-condition"),
        ("", "undefined-condition"),
    ],
)
def test_no_error_ends_the_stream(inside: str, condition: str) -> None:
    """Section 2.4, whatever is in it and however it is declared."""
    for raw, header in (
        (f"<db:result from='{CAPULET}' to='{MONTAGUE}' type='error'>{inside}</db:result>", HEADER),
        (
            f"<db:result xmlns:db='{DIALBACK_NS}' from='{CAPULET}' to='{MONTAGUE}' type='error'>{inside}</db:result>",
            HEADER.replace(f" xmlns:db='{DIALBACK_NS}'", ""),
        ),
    ):
        answer = read(raw, header)
        assert (answer.type, answer.condition) == ("error", condition)


# ---- the stream feature


def test_the_feature_tells_that_errors_are_understood() -> None:
    def features(inside: bytes) -> Nonza:
        return received(SERVER_STREAM.features(inside))

    assert has_errors(features(b"<x xmlns='y'/>" + FEATURE))
    assert not has_errors(features(f"<dialback xmlns='{FEATURE_NS}'/>".encode()))
    assert not has_errors(features(b""))


def test_an_error_is_in_the_namespace_of_the_stream() -> None:
    (error,) = received(Dialback("result", CAPULET, MONTAGUE, KEY).answer("error", "forbidden").written()).children()
    assert (error.ns, error.name) == (SERVER_NS, "error")
    assert received(Dialback("result", CAPULET, MONTAGUE, KEY).written()).tag == RESULT
