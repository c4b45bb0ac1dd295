"""Tokens of the clients of an account: what the store has of them, and what changes it.

A token is derived: a MAC of its owner, its client, its mechanism and a random number, under a key of the server that is
no part of the store. The store has the random number only, so who reads the store cannot sign in with it. (A hash of
the token would not do: the mechanisms are MACs under the token itself, and whatever checks those makes them, too.)

What is here are plain functions from a record to the next one, so that the store applies them in the order of its
commits (`Map.update`).
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from secrets import token_bytes
from typing import Final

ALIVE: Final = 2
"""One that is in use, and the next one."""
DEAD: Final = 2
"""So many are remembered that are replaced or revoked: who shows one of them is told to sign in by password."""
SLOTS: Final = ALIVE + DEAD
REMEMBERED: Final = 30 * 86_400.0
"""Seconds beyond its time for which a token is remembered."""


@dataclass(frozen=True, slots=True)
class Token:
    """`number`: random, its name. `issued`, `until`: seconds since 1970 UTC. `generation`: of the credentials of the
    account at that time; with others it is void. `count`: the highest that its client has sent (XEP-0484 section 3.4).
    `used`: its client has it for certain. `ended`: it was replaced or revoked."""

    number: bytes
    mechanism: str
    issued: float
    until: float
    generation: int
    count: int = 0
    used: bool = False
    ended: bool = False

    @classmethod
    def new(cls, mechanism: str, now: float, lifetime: float, generation: int) -> Token:
        return cls(token_bytes(16), mechanism, now, now + lifetime, generation)

    def good(self, generation: int, now: float) -> bool:
        return not self.ended and self.until > now and self.generation == generation


@dataclass(frozen=True, slots=True)
class ClientTokens:
    """Of one client, oldest first."""

    tokens: tuple[Token, ...] = ()

    def good(self, generation: int, now: float) -> bool:
        """Whether one of them can be used."""
        return any(each.good(generation, now) for each in self.tokens)

    def find(self, number: bytes) -> Token | None:
        return next((each for each in self.tokens if each.number == number), None)

    @property
    def forgotten_at(self) -> float:
        """When nobody needs the record any more."""
        return max((each.until for each in self.tokens), default=0.0) + REMEMBERED


Change = Callable[[ClientTokens | None], ClientTokens | None]


def issued(token: Token) -> Change:
    """A new one. One that was issued before and not used since is lost, or its client has no use for it."""

    def change(record: ClientTokens | None) -> ClientTokens:
        before = record.tokens if record is not None else ()
        return _kept([*(each if each.used else replace(each, ended=True) for each in before), token])

    return change


def used(number: bytes, count: int) -> Change:
    """Its client has it: all that were issued to it before end."""

    def change(record: ClientTokens | None) -> ClientTokens | None:
        token = record.find(number) if record is not None else None
        if record is None or token is None or token.ended:
            return record  # revoked meanwhile
        place = record.tokens.index(token)
        before = [replace(each, ended=True) for each in record.tokens[:place]]
        now = replace(token, used=True, count=max(count, token.count))
        return _kept([*before, now, *record.tokens[place + 1 :]])

    return change


def all_ended(record: ClientTokens | None) -> ClientTokens | None:
    """Revoked."""
    return _kept([replace(each, ended=True) for each in record.tokens]) if record is not None else None


def carried_over(generation: int) -> Change:
    """The credentials have changed, and the client stays signed in."""

    def change(record: ClientTokens | None) -> ClientTokens | None:
        if record is None:
            return None
        return ClientTokens(
            tuple(
                replace(each, generation=generation) if each.generation == generation - 1 else each
                for each in record.tokens
            )
        )

    return change


def _kept(tokens: list[Token]) -> ClientTokens:
    ended = [each for each in tokens if each.ended]
    forgotten = ended[: max(0, len(ended) - DEAD)]
    return ClientTokens(tuple(each for each in tokens if each not in forgotten)[-SLOTS:])


def superfluous(records: Mapping[str, ClientTokens], limit: int, generation: int, now: float) -> Iterable[str]:
    """The clients that have to go so that there is room for one more: first those without a token that can be used, and
    then those that got their last one longest ago."""
    by_worth = sorted(
        records, key=lambda key: (records[key].good(generation, now), max(t.issued for t in records[key].tokens))
    )
    return by_worth[: max(0, len(records) - limit + 1)]


class TokenKeys:
    """Derives tokens, and knows them again."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def secret(self, owner: str, client: str, token: Token) -> str:
        """What its client is told, and nobody else."""
        # No part holds a NUL, and the number comes last.
        data = f"{owner}\0{client}\0{token.mechanism}\0".encode() + token.number
        return urlsafe_b64encode(blake2b(data, key=self._key, digest_size=33).digest()).decode()

    def proven(
        self, owner: str, client: str, record: ClientTokens, mechanism: str, proof: bytes, binding: bytes
    ) -> tuple[Token, bytes] | None:
        """The token of that mechanism that makes this proof for this channel, and the server's answer to it. To who has
        no token, however many there are, and whether there are any, makes no difference in time."""
        for token in (*reversed(record.tokens), *_NONE[len(record.tokens) :]):
            secret = self.secret(owner, client, token).encode()
            right = hmac.compare_digest(hmac.digest(secret, b"Initiator" + binding, "sha256"), proof)
            if right and token.mechanism == mechanism:
                return token, hmac.digest(secret, b"Responder" + binding, "sha256")
        return None


_NONE: Final = (Token(b"", "", 0.0, 0.0, -1),) * SLOTS
"""Fit no proof: their mechanism is none."""
EMPTY: Final = ClientTokens()


def live(records: Mapping[str, ClientTokens], generation: int, now: float) -> Collection[str]:
    """Clients with a token that can be used."""
    return [client for client, record in records.items() if record.good(generation, now)]
