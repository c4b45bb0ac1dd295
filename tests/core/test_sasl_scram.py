"""SCRAM against the RFCs' examples, a client written apart from it, slixmpp's client, and what attackers send."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from slixmpp.util.sasl import client as slixmpp_client

from xmppd.errors import LocalError
from xmppd.protocol.sasl import (
    BUILT_IN,
    SASL,
    SCRAM_SHA_512,
    Challenge,
    Credentials,
    Exchange,
    Mechanism,
    NeedCheck,
    NeedCredentials,
    SaslContext,
    SaslFailure,
    ScramKeys,
    Step,
    Success,
    decode,
    offered,
)

END_POINT = b"\x01" * 32
ROUNDS = 4096
ROMEO = Credentials.from_password("r0m30myr0m30", ROUNDS)
ALL = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"]


def start(name: str, context: SaslContext) -> Exchange:
    """An exchange of a mechanism that is offered on an encrypted stream. Raises LookupError."""
    for mechanism in offered((*BUILT_IN, *SCRAM_SHA_512), True, tuple(context.channel_binding)):
        if mechanism.name == name:
            return mechanism.start(context)
    raise LookupError(name)


class ScramClient:
    """The client's side, written from RFC 5802 in bytes, with its own PBKDF2.

    `first()` → the server's challenge → `final(challenge)` → the server's data → `verified(data)`.
    """

    def __init__(self, user: str, password: str, hash: str, gs2: bytes = b"n,,", channel: bytes = b"") -> None:
        self.name = hash.replace("-", "").lower()
        self.password = password.encode()
        self.gs2 = gs2
        self.channel = channel
        self.bare = b"n=" + user.replace("=", "=3D").replace(",", "=2C").encode() + b",r=cl!ent"
        self.signature = b""

    def salted(self, salt: bytes, rounds: int) -> bytes:
        """Hi() of RFC 5802 section 2.2."""
        block = hmac.digest(self.password, salt + b"\0\0\0\1", self.name)
        total = int.from_bytes(block, "big")
        for _ in range(rounds - 1):
            block = hmac.digest(self.password, block, self.name)
            total ^= int.from_bytes(block, "big")
        return total.to_bytes(len(block), "big")

    def first(self) -> bytes:
        return self.gs2 + self.bare

    def final(self, challenge: bytes, *, bound: bytes | None = None, extra: bytes = b"", nonce: bytes = b"") -> bytes:
        fields = dict(item.split(b"=", 1) for item in challenge.split(b","))
        assert list(fields)[:3] == [b"r", b"s", b"i"] and fields[b"r"].startswith(b"cl!ent")
        bound = b64encode(self.gs2 + self.channel) if bound is None else bound
        without = b"c=" + bound + b",r=" + (nonce or fields[b"r"]) + extra
        salted = self.salted(b64decode(fields[b"s"]), int(fields[b"i"]))
        client_key = hmac.digest(salted, b"Client Key", self.name)
        message = self.bare + b"," + challenge + b"," + without
        signature = hmac.digest(hashlib.new(self.name, client_key).digest(), message, self.name)
        self.signature = hmac.digest(hmac.digest(salted, b"Server Key", self.name), message, self.name)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return without + b",p=" + b64encode(proof)

    def verified(self, data: bytes) -> bool:
        return data == b"v=" + b64encode(self.signature)


def context(plus: bool = True, nonce: str = "s3rver") -> SaslContext:
    binding = {"tls-server-end-point": END_POINT} if plus else {}
    return SaslContext("example.com", b"s" * 32, binding, plus, lambda: nonce, ROUNDS)


def challenged(exchange: Exchange, first: bytes, found: Credentials | None = ROMEO) -> bytes:
    """The server's challenge to a first message."""
    step = exchange.respond(first)
    if isinstance(step, NeedCredentials):
        step = exchange.credentials(found)
    assert isinstance(step, Challenge)
    return step.data


def refused(condition: str, exchange: Exchange, message: bytes) -> None:
    with pytest.raises(SaslFailure) as failure:
        exchange.respond(message)
    assert failure.value.condition == condition
    with pytest.raises(SaslFailure):  # and it is over
        exchange.respond(message)


@pytest.mark.parametrize(
    ("mechanism", "salt", "first", "nonce", "challenge", "final", "success"),
    [
        (  # RFC 5802 section 5
            "SCRAM-SHA-1",
            "QSXCR+Q6sek8bf92",
            "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
            "3rfcNHYJY1ZVvWVs7j",
            "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        ),
        (  # RFC 7677 section 3
            "SCRAM-SHA-256",
            "W22ZaJ0SNY7soEsUEjb6gQ==",
            "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
            "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        ),
    ],
)
def test_the_examples_of_the_rfcs(
    mechanism: str, salt: str, first: str, nonce: str, challenge: str, final: str, success: str
) -> None:
    hash = mechanism.removeprefix("SCRAM-")
    keys = ScramKeys.derive("pencil", hash, salt=decode(salt), iterations=4096)
    found = Credentials(keys, None) if hash == "SHA-1" else Credentials(None, keys)
    exchange = start(mechanism, context(plus=False, nonce=nonce))
    assert exchange.respond(first.encode()) == NeedCredentials("user")
    assert exchange.credentials(found) == Challenge(challenge.encode())
    assert exchange.respond(final.encode()) == Success("user", success.encode())


@pytest.mark.parametrize("hash", ["SHA-1", "SHA-256", "SHA-512"])
@pytest.mark.parametrize("plus", [True, False])
@pytest.mark.parametrize("authzid", [b"", b"a=romeo@example.com", b"a=Romeo@EXAMPLE.com"])
def test_a_client_signs_in(hash: str, plus: bool, authzid: bytes) -> None:
    flag = b"p=tls-server-end-point" if plus else b"n"
    client = ScramClient("romeo", "r0m30myr0m30", hash, flag + b"," + authzid + b",", END_POINT if plus else b"")
    exchange = start(f"SCRAM-{hash}-PLUS" if plus else f"SCRAM-{hash}", context())
    step = exchange.respond(client.final(challenged(exchange, client.first())))
    assert isinstance(step, Success) and step.username == "romeo"
    assert client.verified(step.data)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"])
@pytest.mark.parametrize(("user", "password"), [("romeo", "r0m30"), ("Röméo,=x", "pässwört ½\u00a0,=")])
def test_slixmpp_signs_in(mechanism: str, user: str, password: str) -> None:
    client = slixmpp_client.choose(
        {mechanism},
        lambda required, optional: {"username": user, "password": password},
        lambda wanted: dict.fromkeys(wanted, False) | {"encrypted": True, "encrypted_plain": True},
    )
    tell: Callable[..., bytes] = client.process
    exchange = start(mechanism, context(plus=False))
    step: Step = exchange.respond(tell())
    assert step == NeedCredentials(user.lower())
    step = exchange.credentials(Credentials.from_password(password, ROUNDS))
    if isinstance(step, Challenge):
        step = exchange.respond(tell(step.data))
    elif isinstance(step, NeedCheck):
        step = exchange.checked(step.run())
    assert isinstance(step, Success) and step.username == user.lower()
    if step.data:
        tell(step.data)  # raises unless the server has proved itself


def test_names_are_escaped_and_prepared() -> None:
    exchange = start("SCRAM-SHA-1", context())
    assert exchange.respond("n,,n=Rom=2Ce=3DÖ,r=x".encode()) == NeedCredentials("rom,e=ö")


BAD_FIRST = [
    # channel binding and downgrades (RFC 5802 section 6)
    ("SCRAM-SHA-1", b"y,,n=romeo,r=x", "not-authorized"),
    ("SCRAM-SHA-1", b"p=tls-server-end-point,,n=romeo,r=x", "not-authorized"),
    ("SCRAM-SHA-1-PLUS", b"p=tls-unique,,n=romeo,r=x", "not-authorized"),
    ("SCRAM-SHA-1-PLUS", b"p=,,n=romeo,r=x", "malformed-request"),
    ("SCRAM-SHA-1-PLUS", b"n,,n=romeo,r=x", "not-authorized"),
    ("SCRAM-SHA-1-PLUS", b"y,,n=romeo,r=x", "not-authorized"),
    # somebody else
    ("SCRAM-SHA-1", b"n,a=juliet@example.com,n=romeo,r=x", "invalid-authzid"),
    ("SCRAM-SHA-1", b"n,a=romeo@example.net,n=romeo,r=x", "invalid-authzid"),
    ("SCRAM-SHA-1", b"n,a=romeo@example.com/x,n=romeo,r=x", "invalid-authzid"),
    ("SCRAM-SHA-1", b"n,a=romeo,n=romeo,r=x", "invalid-authzid"),
    ("SCRAM-SHA-1", b"n,a=@,n=romeo,r=x", "invalid-authzid"),
    ("SCRAM-SHA-1", b"n,a=a b@example.com,n=a b,r=x", "invalid-authzid"),
    # not a message
    ("SCRAM-SHA-1", b"", "malformed-request"),
    ("SCRAM-SHA-1", b"\xff", "malformed-request"),
    ("SCRAM-SHA-1", b"n,,n=romeo,r=\xff", "malformed-request"),
    ("SCRAM-SHA-1", b"n,,n=romeo", "malformed-request"),
    ("SCRAM-SHA-1", b"n,,n=romeo,r=", "malformed-request"),
    ("SCRAM-SHA-1", b"n,,n=romeo,r=a b", "malformed-request"),
    ("SCRAM-SHA-1", "n,,n=romeo,r=ü".encode(), "malformed-request"),
    ("SCRAM-SHA-1", b"n,,n=,r=x", "malformed-request"),
    ("SCRAM-SHA-1", b"n,,r=x,n=romeo", "malformed-request"),
    ("SCRAM-SHA-1", b"n,n=romeo,r=x", "malformed-request"),
    ("SCRAM-SHA-1", b"x,,n=romeo,r=x", "malformed-request"),
    ("SCRAM-SHA-1", b"n,a=,n=romeo,r=x", "malformed-request"),
    ("SCRAM-SHA-1", b"n,b=q,n=romeo,r=x", "malformed-request"),
    ("SCRAM-SHA-1", b"n,,n=rom=eo,r=x", "malformed-request"),
    ("SCRAM-SHA-1", b"n,,n=rom=2ceo,r=x", "malformed-request"),
    ("SCRAM-SHA-1", b"n,,n=rom\0eo,r=x", "malformed-request"),
    ("SCRAM-SHA-1", b"n,,n=romeo,r=x\n", "malformed-request"),
    ("SCRAM-SHA-1", b"n,,n=romeo,r=x,", "malformed-request"),
    ("SCRAM-SHA-1", b"n,,n=romeo,r=x,f", "malformed-request"),
    ("SCRAM-SHA-1", b"n,,m=ext,n=romeo,r=x", "malformed-request"),
    ("SCRAM-SHA-1", b"n,,n=romeo,r=x,m=ext", "malformed-request"),
    ("SCRAM-SHA-1", b"n,,n=romeo,r=" + b"x" * 20_000, "malformed-request"),
]


@pytest.mark.parametrize(("mechanism", "message", "condition"), BAD_FIRST)
def test_first_messages_that_fail(mechanism: str, message: bytes, condition: str) -> None:
    refused(condition, start(mechanism, context()), message)


def test_extensions_that_are_not_mandatory_are_passed_over() -> None:
    client = ScramClient("romeo", "r0m30myr0m30", "SHA-1")
    client.bare += b",x=1,y=2=3"
    exchange = start("SCRAM-SHA-1", context())
    assert isinstance(exchange.respond(client.final(challenged(exchange, client.first()), extra=b",x=1")), Success)


def test_y_is_right_where_no_plus_was_offered() -> None:
    client = ScramClient("romeo", "r0m30myr0m30", "SHA-1", b"y,,")
    exchange = start("SCRAM-SHA-1", context(plus=False))
    assert isinstance(exchange.respond(client.final(challenged(exchange, client.first()))), Success)


def test_a_wrong_password_fails() -> None:
    client = ScramClient("romeo", "wherefore", "SHA-256")
    exchange = start("SCRAM-SHA-256", context())
    refused("not-authorized", exchange, client.final(challenged(exchange, client.first())))


def test_another_channel_fails() -> None:
    client = ScramClient("romeo", "r0m30myr0m30", "SHA-256", b"p=tls-server-end-point,,", b"\x02" * 32)
    exchange = start("SCRAM-SHA-256-PLUS", context())
    refused("not-authorized", exchange, client.final(challenged(exchange, client.first())))


@pytest.mark.parametrize(
    "bound", [b64encode(b"y,,"), b64encode(b"n,,x"), b64encode(b"n,a=romeo@example.com,"), b"biw=", b"====", b"biws="]
)
def test_another_header_in_the_proof_fails(bound: bytes) -> None:
    client = ScramClient("romeo", "r0m30myr0m30", "SHA-256")
    exchange = start("SCRAM-SHA-256", context())
    refused("not-authorized", exchange, client.final(challenged(exchange, client.first()), bound=bound))


@pytest.mark.parametrize("nonce", [b"cl!ent", b"s3rver", b"cl!ents3rver0", b"CL!ENTs3rver"])
def test_another_nonce_fails(nonce: bytes) -> None:
    client = ScramClient("romeo", "r0m30myr0m30", "SHA-256")
    exchange = start("SCRAM-SHA-256", context())
    refused("not-authorized", exchange, client.final(challenged(exchange, client.first()), nonce=nonce))


@pytest.mark.parametrize(
    ("message", "condition"),
    [
        (b"c=biws,r=cl!ents3rver,p=AAAA", "not-authorized"),
        (b"c=biws,r=cl!ents3rver,p=" + b64encode(bytes(20)), "not-authorized"),
        (b"c=biws,r=cl!ents3rver,p=" + b64encode(bytes(32)), "not-authorized"),
        (b"", "malformed-request"),
        (b"c=biws,r=cl!ents3rver", "malformed-request"),
        (b"c=biws,r=cl!ents3rver,p=", "malformed-request"),
        (b"c=biws,r=cl!ents3rver,p=AAA", "malformed-request"),
        (b"c=biws,r=cl!ents3rver,p=AAB=", "malformed-request"),
        (b"c=biws,r=cl!ents3rver,p=A\nAAA", "malformed-request"),
        (b"c=biws,r=cl!ents3rver,p=AAAA,x=1", "malformed-request"),
        (b"c=biws,r=cl!ents3rver,m=1,p=AAAA", "malformed-request"),
        (b"r=cl!ents3rver,c=biws,p=AAAA", "malformed-request"),
        (b"c=b-ws,r=cl!ents3rver,p=AAAA", "malformed-request"),
        (b"\xff", "malformed-request"),
    ],
)
def test_last_messages_that_fail(message: bytes, condition: str) -> None:
    exchange = start("SCRAM-SHA-256", context())
    challenged(exchange, b"n,,n=romeo,r=cl!ent")
    refused(condition, exchange, message)


def test_a_proof_is_good_for_one_exchange() -> None:
    client = ScramClient("romeo", "r0m30myr0m30", "SHA-1")
    exchange = start("SCRAM-SHA-1", context())
    final = client.final(challenged(exchange, client.first()))
    assert isinstance(exchange.respond(final), Success)
    refused("malformed-request", exchange, final)
    other = start("SCRAM-SHA-1", context(nonce="0ther"))
    challenged(other, client.first())
    refused("not-authorized", other, final)


@pytest.mark.parametrize(
    ("user", "found"),
    [
        ("nobody", None),
        ("romeo", replace(ROMEO, disabled=True)),
        ("romeo", replace(ROMEO, scram_sha_256=None)),
        ("romeo", Credentials(None, None)),
        ("ro meo", None),  # cannot be an account
    ],
)
def test_who_cannot_sign_in_looks_like_who_can(user: str, found: Credentials | None) -> None:
    """T13, A04: same shape of the challenge, stable over attempts, and the failure comes last."""
    usual = challenged(start("SCRAM-SHA-256", context()), b"n,,n=romeo,r=cl!ent")
    client = ScramClient(user, "r0m30myr0m30", "SHA-256")
    exchange = start("SCRAM-SHA-256", context())
    challenge = challenged(exchange, client.first(), found)
    assert len(challenge) == len(usual) and challenge.endswith(b",i=4096")
    refused("not-authorized", exchange, client.final(challenge))
    assert challenged(start("SCRAM-SHA-256", context()), client.first(), found) == challenge


def test_made_up_salts_differ_by_name_hash_domain_and_secret() -> None:
    def salt(user: bytes, mechanism: str = "SCRAM-SHA-256", **changes: object) -> bytes:
        exchange = start(mechanism, replace(context(), **changes))  # type: ignore[arg-type]
        return challenged(exchange, b"n,,n=" + user + b",r=x", None)

    different = [
        salt(b"a"),
        salt(b"b"),
        salt(b"a", "SCRAM-SHA-1"),
        salt(b"a", domain="example.net"),
        salt(b"a", secret=b"t" * 32),
    ]
    assert len(set(different)) == len(different)
    assert salt(b"A") == salt(b"a")


def test_our_own_misuse_is_not_a_failure_of_the_client() -> None:
    exchange = start("SCRAM-SHA-1", context())
    with pytest.raises(LocalError):
        exchange.credentials(ROMEO)
    with pytest.raises(LocalError):
        exchange.checked(True)
    exchange.respond(b"n,,n=romeo,r=x")
    refused("malformed-request", exchange, b"n,,n=romeo,r=x")  # before the look-up is back
    with pytest.raises(LocalError):
        exchange.credentials(ROMEO)


def test_what_is_offered() -> None:
    def names(secure: bool, bindings: list[str], *more: Mechanism, listed_in: str = SASL) -> list[str]:
        return [each.name for each in offered((*BUILT_IN, *more), secure, bindings, listed_in)]

    assert names(True, ["tls-server-end-point"]) == ALL
    assert names(True, []) == ALL[2:]
    assert names(False, ["tls-server-end-point"]) == ALL[2:-1]
    between = Mechanism("BETWEEN", 45, BUILT_IN[0].start)
    token = Mechanism("TOKEN", 99, BUILT_IN[0].start, binds=True, listed_in="token")
    assert names(True, [], between, token) == ["BETWEEN", *ALL[2:]]
    assert names(True, ["tls-exporter"], between, token, listed_in="token") == ["TOKEN"]
    assert names(True, [], token, listed_in="token") == []


PIECE = st.sampled_from(
    b"n,,|y,|p=tls-server-end-point,|n=romeo|,|=|=2C|r=x|c=biws|p=AAAA|m=1|\xff".split(b"|")
    + "a=romeo@example.com|\0|cl!ents3rver|ü|romeo".encode().split(b"|")
)
MESSAGE = st.one_of(st.binary(max_size=60), st.lists(PIECE, max_size=12).map(b"".join))


@settings(deadline=None)
@given(st.sampled_from(ALL), st.lists(MESSAGE, min_size=1, max_size=3), st.booleans())
@example("SCRAM-SHA-1", [b"n,,n=romeo,r=cl!ent", b"c=biws,r=cl!ents3rver,p=AAAA"], True)
@example("PLAIN", [b"\0romeo\0x"], True)
def test_garbage_only_ever_fails(mechanism: str, messages: list[bytes], known: bool) -> None:
    exchange = start(mechanism, context())
    few = Credentials.from_password("x" * 30, 1)
    with pytest.raises(SaslFailure):
        for message in messages:
            step = exchange.respond(message)
            if isinstance(step, NeedCredentials):
                step = exchange.credentials(few if known else None)
            if isinstance(step, NeedCheck):
                step = exchange.checked(step.run())
            assert isinstance(step, Challenge)
        exchange.respond(b"")
