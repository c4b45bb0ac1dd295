"""Which browser asks, by its User-Agent header, in words for people. It is what a browser says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_NAMES: Final = (
    ("Edg/", "Edge"), ("EdgA/", "Edge"), ("OPR/", "Opera"), ("Vivaldi/", "Vivaldi"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("FxiOS/", "Firefox"), ("CriOS/", "Chrome"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"),
)  # fmt: skip
"""The first that fits: most name others, too."""
_SYSTEMS: Final = (
    ("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("CrOS", "ChromeOS"), ("Windows", "Windows"),
    ("Mac OS X", "macOS"), ("Linux", "Linux"), ("BSD", "BSD"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Browser:
    """`name`, `system`: "" for one that is not known."""

    name: str
    system: str

    @classmethod
    def of(cls, user_agent: str) -> Browser:
        return cls(_first(_NAMES, user_agent), _first(_SYSTEMS, user_agent))

    @property
    def software(self) -> str:
        """As a client's name in a list of devices."""
        return f"Converse in {self.name or 'a browser'}"

    def __str__(self) -> str:
        name = self.name or "An unknown browser"
        return f"{name} on {self.system}" if self.system else name


def _first(words: tuple[tuple[str, str], ...], text: str) -> str:
    return next((word for sign, word in words if sign in text), "")
