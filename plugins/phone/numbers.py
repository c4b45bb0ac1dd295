"""Telephone numbers: their one form (E.164), and what is stored in their place."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from xmppd.errors import NotAcceptable

if TYPE_CHECKING:
    from collections.abc import Collection

    import phonenumbers

LONGEST: Final = 40
WRITTEN: Final = re.compile(r"\+?[0-9 ()./\-\u00a0\u2010\u2011]+")
"""No letters, no extensions, digits of one alphabet only: what is read in two ways reaches two telephones."""
MOBILE_TYPES: Final = ("MOBILE", "FIXED_LINE_OR_MOBILE")
BLOCK: Final = 4
"""Last digits that do not count for what is one block of numbers."""
HASH: Final = re.compile(r"[0-9a-f]{64}")
"""SHA-256, in hex digits."""


def e164(text: str, region: str, regions: Collection[str]) -> str:
    """The one form of a mobile number. `region`: of a number without a country, "" for none; `regions`: that are
    accepted, none for all. Raises NotAcceptable."""
    import phonenumbers  # it loads 5 MiB, which most servers never need

    text = text.strip()
    if not text:
        raise NotAcceptable("a phone number is required")
    if len(text) > LONGEST or WRITTEN.fullmatch(text) is None:
        raise NotAcceptable("a phone number is digits, and +")
    try:
        number = phonenumbers.parse(text, region or None)
    except phonenumbers.NumberParseException:
        raise NotAcceptable("the phone number must begin with + and the code of its country") from None
    if not phonenumbers.is_valid_number(number) or not _is_mobile(number):
        raise NotAcceptable("this is no mobile phone number")
    if regions and phonenumbers.region_code_for_number(number) not in regions:
        raise NotAcceptable("numbers of that country are not accepted here")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _is_mobile(number: phonenumbers.PhoneNumber) -> bool:
    """Calls to other kinds cost whom they reach, or whom they come from, or reach nobody."""
    from phonenumbers import PhoneNumberType, number_type

    return number_type(number) in {getattr(PhoneNumberType, each) for each in MOBILE_TYPES}


@dataclass(frozen=True, slots=True)
class Hasher:
    """Makes what is stored of a number and of a code. Whoever reads the store without the key learns neither: there
    are so few numbers that a hash without a key is undone within a minute."""

    secret: bytes = field(repr=False)
    domain: str

    def _mac(self, kind: str, *parts: str) -> str:
        data = "\0".join((kind, self.domain, *parts)).encode()
        return hmac.new(self.secret, data, hashlib.sha256).hexdigest()

    @property
    def salt(self) -> str:
        """What clients put in front of a number before they hash it. Not secret, and always the same."""
        return self._mac("salt")[:32]

    @property
    def check(self) -> str:
        """Tells one key from another."""
        return self._mac("check")[:32]

    def sent_hash(self, number: str) -> str:
        """What a client sends in place of a number: SHA-256 of salt and number, in hex digits."""
        return hashlib.sha256((self.salt + number).encode()).hexdigest()

    def stored(self, sent_hash: str) -> str:
        """What is stored, from what a client sends."""
        return self._mac("number", sent_hash)[:32]

    def number(self, number: str) -> str:
        """What is stored of a number."""
        return self.stored(self.sent_hash(number))

    def code(self, stored: str, purpose: str, code: str) -> str:
        """What is stored of a code for that number. `purpose`: for what alone it is good."""
        return self._mac("code", stored, purpose, code)
