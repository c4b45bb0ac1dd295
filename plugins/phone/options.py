"""The options of telephone numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from xmppd.config import Duration, option

CONSOLE: Final = "console"
WEBHOOK: Final = "webhook"
PLUGIN: Final = "plugin"
REQUIRED: Final = "required"
OPTIONAL: Final = "optional"
OFF: Final = "off"
_REGION = re.compile(r"[A-Z]{2}")
_URL = re.compile(r"https?://[^\s/?#]+\S*")
DAY: Final = 86_400.0


@dataclass(frozen=True)
class Config:
    registration: str = option(
        REQUIRED,
        "Whether strangers without an invitation prove a number when they register (where `mode: open` of the plugin "
        "`register` lets them): all must; who wants to; nobody.",
        choices=(REQUIRED, OPTIONAL, OFF),
    )
    sender: str = option(
        CONSOLE,
        "Who sends the codes: they are written to the server's log, for trying it out; a request to `webhook`; another "
        "plugin (`CODE_SENDER`).",
        choices=(CONSOLE, WEBHOOK, PLUGIN),
    )
    webhook: str = option("", "Address that gets a POST for each code.")
    webhook_secret: str = option("", "Key of the signature that the request has.", secret=True)
    webhook_time: Duration = option(Duration("5 seconds"), "How long an answer may take.", low=1, high=20)
    webhook_tries: int = option(2, "Requests for one code, if none is answered.", low=1, high=3)
    text: str = option("{code} is your code for {domain}. Do not tell it to anybody.", "What is sent.", low=6, high=300)
    region: str = option("", "Country (`DE`) of numbers that are written without one; empty: they are refused.")
    regions: tuple[str, ...] = option(
        (), "Countries whose numbers are accepted; none: all. Codes cost money, to some countries a lot."
    )
    code_length: int = option(6, "Digits of a code.", low=6, high=10)
    code_time: Duration = option(Duration("10 minutes"), "How long a code is good.", low=60, high=3600)
    attempts: int = option(3, "Tries for one code.", low=1, high=10)
    pause: Duration = option(Duration("1 minute"), "Time between two codes to one number.", low=1, high=3600)
    per_number: int = option(3, "Codes to one number within 24 hours.", low=1, high=20)
    per_address: int = option(
        5, "Codes for one IP address (IPv6: one /64), or for one account, within 24 hours.", low=1, high=1000
    )
    per_block: int = option(
        5, "Codes to numbers that differ in the last four digits only, within an hour.", low=1, high=10_000
    )
    per_hour: int = option(100, "Codes in all within an hour.", low=1, high=1_000_000)
    valid: Duration = option(
        Duration("365 days"),
        "How long a number is found by look-up since it was last proven; 0: without limit. Numbers get new owners.",
        high=315_360_000,
    )
    lookups: int = option(1000, "Numbers that one account can look up within 24 hours; 0: no look-up.", low=0)
    batch: int = option(100, "Numbers in one look-up.", low=1, high=500)
    lookup_needs_number: bool = option(True, "Only who has proven a number can look up others.")
    key: str = option(
        "",
        "Key (32 characters or more) without which the stored numbers say nothing. Empty: a file `phone.key` is made "
        "in the folder `var`. Several servers with one store need the same one.",
        secret=True,
    )

    def check(self) -> Iterable[tuple[str, str]]:
        if self.sender == WEBHOOK:
            if _URL.fullmatch(self.webhook) is None:
                yield "webhook", "expected an address such as 'https://sms.example.org/codes'"
            if len(self.webhook_secret) < 16:
                yield "webhook_secret", "expected at least 16 characters"
        if self.key and len(self.key) < 32:
            yield "key", "expected at least 32 characters"
        for name, regions in (("region", (self.region,) if self.region else ()), ("regions", self.regions)):
            for each in regions:
                if _REGION.fullmatch(each) is None:
                    yield name, f"expected a country such as 'DE', got {each!r}"
        try:
            if "1" * 6 not in self.text.format(code="111111", domain="example.org"):
                yield "text", "expected {code} in it"
        except (KeyError, IndexError, ValueError, AttributeError):
            yield "text", "expected {code} and {domain} in braces, and nothing else"
