"""What the core itself gives and takes of an account: its keys, and whether it may be used."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Final

from ..contracts.accounts import StoredAccount
from ..contracts.moving import MOVING_NS, SCRAM_NS, Intake, OwnerKind, Portable
from ..jid import JID
from ..protocol.sasl import HASHES, Credentials, ScramKeys
from ..storage.api import Map, Write
from ..xep.numbers import unsigned
from ..xml import E, Element, find, text_of

SCRAM_TAG: Final = f"{SCRAM_NS}|scram-credentials"
ACCOUNT_TAG: Final = f"{MOVING_NS}|account"
LENGTHS: Final = {"SHA-1": 20, "SHA-256": 32, "SHA-512": 64}
ITERATIONS: Final = 10_000_000
"""More would keep clients busy for minutes."""
SALT: Final = 1024
REASONS: Final = 20


def read_keys(element: Element) -> ScramKeys:
    """<scram-credentials/> (XEP-0227, "SCRAM credentials"). Raises ValueError.

    ejabberd (23.01) writes the base64 of base64; a key has a length, so that shows.
    """
    name = str(element.get("mechanism", ""))
    hash = name.removeprefix("SCRAM-").removesuffix("-PLUS")
    if hash not in HASHES or not name.startswith("SCRAM-"):
        raise ValueError(f"keys for {name[:40]!r}, which is not known here")
    iterations = unsigned(text_of(find(element, SCRAM_NS, "iter-count")).strip())
    if not iterations or iterations > ITERATIONS:
        raise ValueError("keys with a number of iterations that cannot be")
    stored, server, salt = (_decoded(element, each) for each in ("stored-key", "server-key", "salt"))
    if len(stored) != LENGTHS[hash]:
        stored, server, salt = (_base64(each.decode("ascii", "replace")) for each in (stored, server, salt))
    if len(stored) != LENGTHS[hash] or len(server) != LENGTHS[hash] or not 0 < len(salt) <= SALT:
        raise ValueError("keys of a wrong length")
    return ScramKeys(hash, salt, iterations, stored, server)


def _decoded(element: Element, name: str) -> bytes:
    return _base64("".join(text_of(find(element, SCRAM_NS, name)).split()))


def _base64(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (Error, ValueError):
        raise ValueError("keys that are no base64") from None


def encoded_twice(element: Element) -> Element:
    """Keys as ejabberd reads and writes them; any other element as it is."""
    if element.tag == f"{{{SCRAM_NS}}}scram-credentials":
        for each in element:
            if not str(each.tag).endswith("}iter-count"):
                each.text = b64encode(text_of(each).encode()).decode()
    return element


def with_keys(credentials: Credentials, keys: ScramKeys) -> Credentials:
    return replace(credentials, **{f"scram_{keys.hash.lower().replace('-', '_')}": keys})  # type: ignore[arg-type]


def own_parts(accounts: Map[StoredAccount]) -> tuple[Portable, ...]:
    """The importer itself takes keys, when the account is made; these are for what comes later."""

    async def give_keys(owner: JID) -> AsyncIterator[Element]:
        stored = await accounts.read(owner.bare, "")
        for hash in HASHES if stored is not None else ():
            keys = stored.credentials.get(hash) if stored is not None else None
            if keys is not None:
                values = {"iter-count": str(keys.iterations)}
                for name, data in (
                    ("salt", keys.salt),
                    ("server-key", keys.server_key),
                    ("stored-key", keys.stored_key),
                ):
                    values[name] = b64encode(data).decode()
                children = (E(name, SCRAM_NS, {}, value) for name, value in values.items())
                yield E("scram-credentials", SCRAM_NS, {"mechanism": f"SCRAM-{hash}"}, *children)

    async def take_keys(owner: JID, element: Element, intake: Intake) -> Sequence[Write]:
        """Raises ValueError."""
        keys = read_keys(element)
        stored = await accounts.read(owner.bare, "")
        if stored is None or not (intake.first or intake.replace):
            return ()
        return [accounts.put(owner.bare, "", replace(stored, credentials=with_keys(stored.credentials, keys)))]

    async def give_account(owner: JID) -> AsyncIterator[Element]:
        stored = await accounts.read(owner.bare, "")
        if stored is not None:
            attributes = {"created": repr(stored.created)}
            reasons = stored.disabled_by or (("administrator",) if stored.credentials.disabled else ())
            yield E("account", MOVING_NS, attributes, *(E("disabled", MOVING_NS, {}, reason) for reason in reasons))

    async def take_account(owner: JID, element: Element, intake: Intake) -> Sequence[Write]:
        """Raises ValueError."""
        stored = await accounts.read(owner.bare, "")
        if stored is None or not intake.first:
            return ()
        created = float(str(element.get("created", "0")))
        if 0 < created <= intake.now / 1_000_000:
            stored = replace(stored, created=created)
        for reason in list(element)[:REASONS]:
            stored = stored.changed(True, text_of(reason)[:100] or "administrator")
        return [accounts.put(owner.bare, "", stored)]

    return (
        Portable(OwnerKind.ACCOUNT, (SCRAM_TAG,), give_keys, take_keys, secret=True),
        Portable(OwnerKind.ACCOUNT, (ACCOUNT_TAG,), give_account, take_account, secret=True),
    )
