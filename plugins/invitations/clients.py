"""Clients that a newcomer can install, by platform."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import quote


class App(NamedTuple):
    """`url`: where to get it; {uri} stands for the invitation, for a shop that hands it to the program."""

    name: str
    where: str
    url: str


CLIENTS: Final[dict[str, tuple[App, ...]]] = {
    "Android": (
        App(
            "Conversations",
            "Google Play",
            "https://play.google.com/store/apps/details?id=eu.siacs.conversations&referrer={uri}",
        ),
        App("Conversations", "F-Droid", "https://f-droid.org/packages/eu.siacs.conversations/"),
        App("Cheogram", "F-Droid", "https://f-droid.org/packages/com.cheogram.android/"),
    ),
    "iPhone and iPad": (
        App("Monal", "App Store", "https://apps.apple.com/app/id317711500"),
        App("Siskin IM", "App Store", "https://apps.apple.com/app/id1153516838"),
    ),
    "Windows": (App("Gajim", "gajim.org", "https://gajim.org/download/"),),
    "macOS": (
        App("Monal", "monal-im.org", "https://monal-im.org/install/"),
        App("Beagle IM", "App Store", "https://apps.apple.com/app/id1445349494"),
    ),
    "Linux": (
        App("Dino", "dino.im", "https://dino.im/#download"),
        App("Gajim", "gajim.org", "https://gajim.org/download/"),
        App("Profanity, for the terminal", "profanity-im.github.io", "https://profanity-im.github.io/"),
    ),
}
_SIGNS: Final = (
    ("Android", "Android"),
    ("iPhone", "iPhone and iPad"),
    ("iPad", "iPhone and iPad"),
    ("Windows", "Windows"),
    ("Macintosh", "macOS"),
    ("Linux", "Linux"),
    ("X11", "Linux"),
)


def platforms(user_agent: str) -> list[str]:
    """All of them, first the one that a browser says it runs on."""
    own = next((name for sign, name in _SIGNS if sign in user_agent), "")
    return sorted(CLIENTS, key=lambda name: name != own)


def url(app: App, uri: str) -> str:
    """Where to get a client, with the invitation if it can be handed over; `uri`: "" for none."""
    return app.url.replace("{uri}", quote(uri, safe="")) if uri else app.url.replace("&referrer={uri}", "")
