"""Prosody's data folder (`storage = "internal"`): a folder for each host, one for
each store in it, a file for each user."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from ..xml import CLIENT_NS
from .elements import LATEST, Item
from .events import Problem
from .lua import LONGEST, BadLua, Table, parse_items, parse_value
from .prosody import NODES
from .prosody_elements import element_of


class ProsodyFiles:
    """`ProsodyStores` of a folder: that of all hosts, or that of one host."""

    def __init__(self, folder: Path) -> None:
        self._folders = {unquote(each.name): each for each in _hosts(folder)}
        self.problems: list[Problem] = []
        self.size = sum(len(list(each.glob("accounts/*.dat"))) for each in self._folders.values())
        self.position = 0

    @staticmethod
    def recognises(folder: Path) -> bool:
        return bool(_hosts(folder))

    def hosts(self) -> Sequence[str]:
        return sorted(self._folders)

    def stores(self, host: str) -> set[str]:
        found = {each.name if each.is_dir() else each.stem for each in self._folders[host].iterdir()}
        return {unquote(name) for name in found}

    def users(self, host: str, store: str) -> Iterator[str]:
        folder = self._folders[host] / _store(store)
        names = {each.stem for each in folder.iterdir() if each.suffix in SUFFIXES} if folder.is_dir() else set()
        for name in sorted(names):
            if store == "accounts":
                self.position += 1
            yield unquote(name, errors="replace")

    def table(self, host: str, user: str, store: str) -> Table:
        path = self._path(host, user, store, ".dat")
        try:
            if path.stat().st_size > LONGEST:
                self.problems.append(Problem(str(path), "it is too large"))
                return {}
            found = parse_value(path.read_bytes())
        except FileNotFoundError:
            return {}
        except OSError as error:
            self.problems.append(Problem(str(path), error.strerror or str(error)))
            return {}
        except BadLua as error:
            self.problems.append(Problem(str(path), f"it cannot be read: {error}"))
            return {}
        if not isinstance(found, dict):
            self.problems.append(Problem(str(path), "it holds no table"))
            return {}
        return found

    def items(self, host: str, user: str, store: str) -> Iterator[Item]:
        path = self._path(host, user, store, ".list")
        try:
            with path.open("rb") as file:
                for number, value in enumerate(parse_items(file), 1):
                    found = _item(value, store)
                    if found is not None:
                        yield found
                    else:
                        self.problems.append(Problem(str(path), f"its item {number} cannot be read"))
        except FileNotFoundError:
            return
        except OSError as error:
            self.problems.append(Problem(str(path), error.strerror or str(error)))
        except BadLua as error:
            self.problems.append(Problem(str(path), f"it cannot be read from there on: {error}"))

    def _path(self, host: str, user: str, store: str, suffix: str) -> Path:
        folder = self._folders[host]
        return folder / _store(store) / (_encoded(user) + suffix) if user else folder / (_store(store) + suffix)


SUFFIXES: Final = (".dat", ".list")


def _hosts(folder: Path) -> list[Path]:
    """Folders that look like those of hosts. Raises OSError."""
    if _is_host(folder):
        return [folder]
    return [each for each in folder.iterdir() if each.is_dir() and _is_host(each)]


def _is_host(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in ("accounts", "config", NODES))


def _encoded(text: str) -> str:
    """As Prosody names files: what is no letter or digit of ASCII is %xx."""
    return "".join(
        chr(byte) if byte < 128 and chr(byte).isalnum() else f"%{byte:02x}" for byte in text.encode("utf-8", "replace")
    )


def _store(text: str) -> str:
    return "_".join(map(_encoded, text.split("_")))


def _item(value: Any, store: str) -> Item | None:
    if not isinstance(value, dict):
        return None
    # A node's payload has any namespace; without one it is of none.
    element = element_of(value, CLIENT_NS if not store.startswith(("pep_", "pubsub_")) else "")
    when = value.get("when")
    if element is None or not isinstance(when, (int, float)) or not 0 < when < LATEST:
        return None
    key, by = value.get("key"), value.get("with")
    return Item(str(key or ""), int(when * 1_000_000), by if isinstance(by, str) else "", element)
