"""What the operator decides about the web client."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from xmppd.config import option

_ORIGIN = re.compile(r"https?:(//(\*\.)?[A-Za-z0-9.-]+(:[0-9]{1,5})?)?")


@dataclass(frozen=True)
class Config:
    folder: str = option("", "Folder with the files of Converse.js; empty: where `make web` puts them.")
    title: str = option("Chat", "Title of the page.")
    media_from: tuple[str, ...] = option(
        (),
        "Where pictures, sounds and videos in messages may come from beside the uploads of this server, as "
        "`https://files.example.org` or `https:` (everywhere: who sends one then learns the reader's IP address). "
        "Those from elsewhere are links.",
    )

    def check(self) -> Iterable[tuple[str, str]]:
        for each in self.media_from:
            if _ORIGIN.fullmatch(each) is None:
                yield "media_from", f"expected an address such as 'https://files.example.org', got {each!r}"
