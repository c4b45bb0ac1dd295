"""PLAIN, the keys it is checked against, and strict base64."""

from __future__ import annotations

import threading
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmppd.errors import LocalError
from xmppd.protocol.sasl import (
    Credentials,
    NeedCheck,
    NeedCredentials,
    SaslContext,
    SaslFailure,
    ScramKeys,
    Step,
    Success,
    decode,
    encode,
    prepare_password,
)
from xmppd.protocol.sasl.plain import Plain, Proofs

ROMEO = Credentials.from_password("r0m30", 1000)
CONTEXT = SaslContext("example.com", b"s" * 32, {}, False, lambda: "x", 1000)


def sign_in(message: bytes, found: Credentials | None, proofs: Proofs) -> tuple[Step, bool]:
    """The result, and whether a check was asked for."""
    exchange = Plain(CONTEXT, proofs)
    step = exchange.respond(message)
    if isinstance(step, NeedCredentials):
        step = exchange.credentials(found)
    if isinstance(step, NeedCheck):
        return exchange.checked(step.run()), True
    return step, False


@pytest.mark.parametrize("message", [b"\0Romeo\0r0m30", b"romeo@example.com\0romeo\0r0m30"])
def test_the_right_password(message: bytes) -> None:
    assert sign_in(message, ROMEO, Proofs()) == (Success("romeo"), True)
    for lacks in ("scram_sha_256", "scram_sha_512"):
        # the password comes along, for what can be made of it now
        found, checked = sign_in(message, replace(ROMEO, **{lacks: None}), Proofs())  # type: ignore[arg-type]
        assert found == Success("romeo", password="r0m30")
        assert checked
        assert "r0m30" not in repr(found)


def test_a_second_time_costs_nothing_until_something_changes() -> None:
    proofs = Proofs()
    message = b"\0romeo\0r0m30"
    assert sign_in(message, ROMEO, proofs) == (Success("romeo"), True)
    assert sign_in(message, ROMEO, proofs) == (Success("romeo"), False)
    changed = Credentials.from_password("r0m30", 1000)  # same password, new salt
    assert sign_in(message, changed, proofs) == (Success("romeo"), True)
    for found in (replace(ROMEO, disabled=True), Credentials.from_password("other", 1000), None):
        with pytest.raises(SaslFailure):
            sign_in(message, found, proofs)
    for wrong in (b"\0romeo\0r0m31", b"\0juliet\0r0m31", b"\0romeo\0r0m30 "):
        with pytest.raises(SaslFailure):
            sign_in(wrong, ROMEO, proofs)
    assert len(proofs) == 2


def test_another_account_does_not_profit_from_a_proof() -> None:
    proofs = Proofs()
    sign_in(b"\0romeo\0r0m30", ROMEO, proofs)
    _, checked = sign_in(b"\0juliet\0r0m30", ROMEO, proofs)
    assert checked


def test_proofs_are_bounded_and_the_unused_go_first() -> None:
    proofs = Proofs(3)
    a, b, c, d = (proofs.of("romeo", text, b"k") for text in "abcd")
    for proof in (a, b, c, c):
        proofs.add(proof)
    assert proofs.known(a)
    proofs.add(d)
    assert [proofs.known(proof) for proof in (a, b, c, d)] == [True, False, True, True]
    assert len(proofs) == 3
    assert proofs.of("ab", "c", b"") != proofs.of("a", "bc", b"")
    assert a != Proofs().of("romeo", "a", b"k")  # keyed


@pytest.mark.parametrize(
    ("user", "found"),
    [
        (b"romeo", ROMEO),
        (b"romeo", replace(ROMEO, disabled=True)),
        (b"romeo", Credentials(None, None)),
        (b"nobody", None),
        (b"ro meo", None),
        (b"romeo@example.com", None),
    ],
)
def test_all_who_fail_fail_alike(user: bytes, found: Credentials | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same amount of PBKDF2, then the same answer, whoever it is."""
    costs: list[int] = []
    derive = ScramKeys.derive.__func__  # type: ignore[attr-defined]

    def counted(cls: type[ScramKeys], /, *args: object, **named: int) -> ScramKeys:
        costs.append(named["iterations"])
        result: ScramKeys = derive(cls, *args, **named)
        return result

    monkeypatch.setattr(ScramKeys, "derive", classmethod(counted))
    with pytest.raises(SaslFailure) as failure:
        sign_in(b"\0" + user + b"\0wrong", found, Proofs())
    assert failure.value.condition == "not-authorized"
    assert costs == [1000]


def test_a_disabled_account_fails_with_the_right_password() -> None:
    with pytest.raises(SaslFailure) as failure:
        sign_in(b"\0romeo\0r0m30", replace(ROMEO, disabled=True), Proofs())
    assert failure.value.condition == "not-authorized"


@pytest.mark.parametrize(
    ("message", "condition"),
    [
        (b"", "malformed-request"),
        (b"romeo", "malformed-request"),
        (b"romeo\0r0m30", "malformed-request"),
        (b"\0romeo\0", "malformed-request"),
        (b"\0\0r0m30", "malformed-request"),
        (b"\0romeo\0r0m30\0", "malformed-request"),
        (b"\0romeo\0\xff", "malformed-request"),
        (b"\0romeo\0" + b"x" * 2000, "malformed-request"),
        (b"x" * 20_000, "malformed-request"),
        (b"juliet@example.com\0romeo\0r0m30", "invalid-authzid"),
        (b"romeo@example.net\0romeo\0r0m30", "invalid-authzid"),
        (b"romeo@example.com/x\0romeo\0r0m30", "invalid-authzid"),
        (b"romeo\0romeo\0r0m30", "invalid-authzid"),
        (b"a b@example.com\0a b\0r0m30", "invalid-authzid"),
        (b"\0romeo\0r0m30\x01", "not-authorized"),
    ],
)
def test_messages_that_fail(message: bytes, condition: str) -> None:
    with pytest.raises(SaslFailure) as failure:
        sign_in(message, ROMEO, Proofs())
    assert failure.value.condition == condition


def test_the_check_runs_in_any_thread_and_the_steps_only_in_order() -> None:
    exchange = Plain(CONTEXT, Proofs())
    with pytest.raises(LocalError):
        exchange.checked(True)
    with pytest.raises(LocalError):
        exchange.credentials(ROMEO)
    assert exchange.respond(b"\0romeo\0r0m30") == NeedCredentials("romeo")
    with pytest.raises(LocalError):
        exchange.checked(True)
    with pytest.raises(SaslFailure):
        exchange.respond(b"\0romeo\0r0m30")
    step = exchange.credentials(ROMEO)
    assert isinstance(step, NeedCheck)
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(step.run()))
    thread.start()
    thread.join()
    assert exchange.checked(*results) == Success("romeo")
    with pytest.raises(LocalError):
        exchange.checked(True)


def test_keys() -> None:
    keys = ROMEO.get("SHA-256")
    assert keys is ROMEO.scram_sha_256 and ROMEO.get("SHA-1") is ROMEO.scram_sha_1
    assert keys is not None and keys.check("r0m30")
    assert not keys.check("r0m31") and not keys.check("") and not keys.check("\0")
    other = ScramKeys.derive("r0m30", "SHA-256", iterations=1000)
    assert (len(other.salt), len(other.stored_key)) == (16, 32)
    assert other.salt != keys.salt and other.stored_key != keys.stored_key
    assert Credentials.from_password("x").scram_sha_1.iterations >= 10_000  # type: ignore[union-attr]


def test_keys_are_stored_as_they_are_and_not_logged() -> None:
    for codec in (msgspec.json, msgspec.msgpack):
        assert codec.decode(codec.encode(ROMEO), type=Credentials) == ROMEO
    keys = ROMEO.scram_sha_1
    assert keys is not None
    assert "stored_key" not in repr(ROMEO) and repr(keys.salt) not in repr(ROMEO)
    assert repr(CONTEXT.secret) not in repr(CONTEXT)


@pytest.mark.parametrize(
    ("typed", "hashed"),
    [  # RFC 4013 section 3, then what is taken beyond it
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("e\u0301", "é"),
        ("🐎\U0001fae8", "🐎\U0001fae8"),
        ("א1", "א1"),
    ],
)
def test_passwords_are_prepared(typed: str, hashed: str) -> None:
    assert prepare_password(typed) == hashed
    assert ScramKeys.derive(typed, "SHA-1", iterations=1).check(hashed)


@pytest.mark.parametrize("password", ["", "\0", "a\n", "\x07", "\u00ad", "\ud800", "\u0080", "x" * 1025, "ü" * 513])
def test_passwords_that_cannot_be(password: str) -> None:
    with pytest.raises(ValueError, match="password"):
        Credentials.from_password(password, 1)


@given(st.binary(max_size=50))
def test_base64_both_ways(data: bytes) -> None:
    assert decode(encode(data)) == data


def test_nothing_in_base64() -> None:
    assert decode("=") == decode("") == b""
    assert encode(b"") == ""


@pytest.mark.parametrize(
    "text",
    ["YW!x\npY2U=", " YWxpY2U=", "YWxpY2U=\n", "YWxpY2U", "YWxpY2U==", "YW=pY2U=", "=YWx", "==", "YWxpY2V=", "Y",
     "Y===", "YWxp-_==", "ÿWxpY2U=", "\ud800AAA"],
)  # fmt: skip
def test_base64_is_strict(text: str) -> None:
    """X15; "YWxpY2V=" has bits set behind its last byte."""
    with pytest.raises(SaslFailure) as failure:
        decode(text)
    assert failure.value.condition == "incorrect-encoding"
