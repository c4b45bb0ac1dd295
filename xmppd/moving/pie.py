"""Reads files of XEP-0227, of any size: expat cuts them into parts, of which one is in memory at a time.

A document type is refused, so there are no entities that could grow. XInclude is followed below the folder of the first
file only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit
from xml.parsers import expat

from lxml import etree

from ..contracts.moving import MOVING_NS, PIE_NS, PIECE, OwnerKind
from ..xep.portable_xml import SPLIT
from ..xml import Element, clean
from .events import Begin, Event, Part, Problem

XINCLUDE: Final = "http://www.w3.org/2001/XInclude"
CHUNK: Final = 64 << 10
PIECE_BYTES: Final = 256 << 10
"""An element that may come in pieces is cut when so much of it has come."""
PART_BYTES: Final = 16 << 20
"""The most of what cannot be cut."""
TAG_BYTES: Final = 1 << 20
"""The most of a tag, a comment or anything else that is read as one: expat begins it again at each chunk."""
ATTRIBUTES: Final = 1000
"""The most that an element has: each is looked for among the others."""
DEPTH: Final = 200
BETWEEN: Final = "}"
"""What expat puts between a namespace and a name."""
INCLUDED: Final = 4
"""Files that include one another, at most."""
HOSTLESS: Final = "it has people but no host: give the file that includes it"


class _Stop(Exception):
    """The file cannot be read further; its text says why."""


class _Include:
    """A file to be read in this place. `context`, `host`: see `_Reader`."""

    def __init__(self, attributes: dict[str, str], context: tuple[str, ...], host: str, where: str) -> None:
        self.href = attributes.get("href", "")
        odd = attributes.get("parse", "xml") != "xml" or "xpointer" in attributes
        self.refused = f"it includes {self.href!r} in a way that is not known" if odd else ""
        self.context = context
        self.host = host
        self.where = where


class _Building:
    """One part while it comes. `cut`: the level below which it may be given in pieces, 0 for a whole. `lost`: how much
    of it was too large, or too deep."""

    def __init__(self, cut: int) -> None:
        self.cut = cut
        self.lost = 0
        self._path: list[Element] = []
        self._root: Element | None = None
        self._texts: list[str] = []
        self._size = 0
        self._complete = 0
        """The size of what is complete."""
        self._count = 0
        self._ignored = 0
        """So deep inside of something that is too large."""

    @property
    def over(self) -> bool:
        return not self._path and not self._ignored

    def start(self, ns: str, name: str, attributes: dict[str, str]) -> None:
        if self._ignored:
            self._ignored += 1
            return
        self._flush()
        if len(attributes) > ATTRIBUTES:
            self.lost, self._ignored = self.lost + 1, 1
            return
        self._size += len(name) + sum(len(key) + len(value) + 8 for key, value in attributes.items()) + 32
        element = _element(ns, name, {_clark(key): clean(value) for key, value in attributes.items()})
        if self._path:
            self._path[-1].append(element)
        else:
            self._root = element
        self._path.append(element)
        self._check()

    def text(self, data: str) -> None:
        if not self._ignored:
            self._size += len(data)
            self._texts.append(data)
            self._check()

    def _check(self) -> None:
        if self._size <= PART_BYTES and len(self._path) <= DEPTH:
            return
        self.lost += 1
        self._texts.clear()
        kept = self.cut if len(self._path) > self.cut else 0
        if kept:
            self._path[kept - 1].remove(self._path[kept])
        else:
            self._root = None
        self._ignored = len(self._path) - kept
        del self._path[kept:]
        self._size = self._complete

    def _flush(self) -> None:
        if not self._texts:
            return
        text, self._texts = clean("".join(self._texts)), []
        inner = self._path[-1]
        if len(inner):
            inner[-1].tail = (inner[-1].tail or "") + text
        else:
            inner.text = (inner.text or "") + text

    def end(self) -> Element | None:
        """What can be given now."""
        if self._ignored:
            self._ignored -= 1
            if self._ignored:
                return None
        else:
            self._flush()
            self._path.pop()
        if not self._path:
            return self._root
        if len(self._path) != self.cut:
            return None
        self._count += 1
        self._complete = self._size
        if self._size < PIECE_BYTES and self._count < PIECE:
            return None
        piece, opened = self._root, self._path
        self._path, self._root = [], None
        for each in opened:  # the same elements are open, with nothing in them
            ns, _, name = str(each.tag).removeprefix("{").rpartition("}")
            self._path.append(_element(ns, name, {str(key): str(value) for key, value in each.attrib.items()}))
            if len(self._path) > 1:
                self._path[-2].append(self._path[-1])
        self._root = self._path[0]
        self._size = self._complete = self._count = 0
        return piece


def _element(ns: str, name: str, attributes: dict[str, str]) -> Element:
    nsmap: Any = {None: ns} if ns else None
    return etree.Element(f"{{{ns}}}{name}" if ns else name, attributes, nsmap=nsmap)


def _clark(name: str) -> str:
    """A name as expat tells it, as lxml wants it."""
    ns, found, local = name.rpartition(BETWEEN)
    return f"{{{ns}}}{local}" if found else name


class _Reader:
    """The handlers of one file. `events`: what they have found and nobody has taken yet."""

    def __init__(self, file: str, context: tuple[str, ...], host: str) -> None:
        """`context`: the names of the elements around the file; `host`: the domain that they are about."""
        self.events: list[Event | _Include] = []
        self.host = host
        self._file = file
        self._levels = list(context)
        self._building: _Building | None = None
        self._passed_over = 0
        self._host_begun = False
        parser = self.parser = expat.ParserCreate(namespace_separator=BETWEEN)
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._refuse_doctype

    @property
    def where(self) -> str:
        return f"{self._file}:{self.parser.CurrentLineNumber}"

    def _refuse_doctype(self, *_: Any) -> None:
        raise _Stop("it has a document type, which no data needs and which can do harm")

    def _start(self, full: str, attributes: dict[str, str]) -> None:
        ns, _, name = full.rpartition(BETWEEN)
        if self._building is not None:
            self._building.start(ns, name, attributes)
        elif self._passed_over:
            self._passed_over += 1
        elif ns == XINCLUDE and name == "include" and self._levels:
            self._passed_over = 1
            self.events.append(_Include(attributes, tuple(self._levels), self.host, self.where))
        else:
            self._enter(ns, name, attributes)

    def _enter(self, ns: str, name: str, attributes: dict[str, str]) -> None:
        level = self._levels[-1] if self._levels else ""
        if ns == PIE_NS and name == "server-data" and not level:
            self._levels.append(name)
        elif ns == PIE_NS and name == "host" and level in ("", "server-data"):
            self.host, self._host_begun = attributes.get("jid", ""), False
            self._levels.append(name)
        elif ns == PIE_NS and name == "user" and level in ("", "host"):
            self._begin(OwnerKind.ACCOUNT, name, attributes)
        elif ns == MOVING_NS and name == "room" and level in ("", "host"):
            self._begin(OwnerKind.ROOM, name, attributes)
        elif level in ("host", "user", "room"):
            if level == "host" and not self._host_begun:
                self._host_begun = True
                self.events.append(Begin(OwnerKind.HOST, "", self.host))
            self._building = _Building(SPLIT.get(f"{ns}|{name}", 0))
            self._building.start(ns, name, attributes)
        elif not level:
            raise _Stop(f"its first element, {name!r}, is not that of a file of XEP-0227")
        else:
            self.events.append(Problem(self.where, f"<{name}/> is not known in this place"))
            self._passed_over = 1

    def _begin(self, kind: OwnerKind, name: str, attributes: dict[str, str]) -> None:
        if not self.host:
            raise _Stop(HOSTLESS)
        self._host_begun = False
        local = attributes.get("name", "")
        if not local:
            self.events.append(Problem(self.where, f"a {name} without a name"))
            self._passed_over = 1
            return
        self._levels.append(name)
        self.events.append(Begin(kind, local, self.host, attributes.get("password")))

    def _end(self, full: str) -> None:
        building = self._building
        if building is not None:
            found = building.end()
            if found is not None:
                self.events.append(Part(found))
            if building.over:
                if building.lost:
                    self.events.append(
                        Problem(self.where, f"{building.lost} elements before are too large, or too deep")
                    )
                self._building = None
        elif self._passed_over:
            self._passed_over -= 1
        else:
            self._levels.pop()

    def _text(self, data: str) -> None:
        if self._building is not None:
            self._building.text(data)


class PieSource:
    """Files of one folder, one after the other, and what they include."""

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        self._begun: set[Path] = set()
        """Files that were begun: each is read once, so a few that include one another cannot make a million of them."""
        self._folder = paths[0].resolve().parent
        self.size = sum(map(_size, paths))
        self.position = 0

    def events(self) -> Iterator[Event]:
        for path in self._paths:
            yield from self._read(path, (), "", 1)

    def _read(self, path: Path, context: tuple[str, ...], host: str, depth: int) -> Iterator[Event]:
        reader = _Reader(str(path), context, host)
        self._begun.add(path.resolve())
        given = 0
        try:
            with path.open("rb") as file:
                for data in self._chunks(file):
                    reader.parser.Parse(data, not data)
                    given += len(data)
                    if given - reader.parser.CurrentByteIndex > TAG_BYTES:
                        raise _Stop("what comes now is too large to be read as one")
                    yield from self._taken(reader, path, depth)
        except _Stop as stop:
            yield from self._taken(reader, path, depth)
            yield Problem(reader.where, f"the file cannot be read further: {stop}")
        except expat.ExpatError as error:
            yield from self._taken(reader, path, depth)
            why = expat.ErrorString(error.code)
            yield Problem(
                f"{path}:{error.lineno}", f"it is no XML from here on ({why}); the rest of the file is not read"
            )
        except ValueError as error:
            yield Problem(str(path), f"it is in an encoding that cannot be read: {error}")
        except OSError as error:
            yield Problem(str(path), error.strerror or str(error))

    def _chunks(self, file: Any) -> Iterator[bytes]:
        while data := file.read(CHUNK):
            self.position += len(data)
            yield data
        yield b""

    def _taken(self, reader: _Reader, path: Path, depth: int) -> Iterator[Event]:
        found, reader.events = reader.events, []
        for event in found:
            if isinstance(event, _Include):
                yield from self._included(event, reader, path, depth)
            else:
                yield event

    def _included(self, include: _Include, reader: _Reader, path: Path, depth: int) -> Iterator[Event]:
        """Section "Use of XInclude"."""
        try:
            parts = urlsplit(include.href)
            target = path.parent / unquote(parts.path)
            why = include.refused or self._why_not(parts, target, include.href, depth)
        except (OSError, ValueError) as error:
            why = f"it includes {include.href!r}: {error}"
        if why:
            yield Problem(include.where, why)
            return
        self.size += _size(target)
        yield from self._read(target, include.context, include.host, depth + 1)

    def _why_not(self, parts: SplitResult, target: Path, href: str, depth: int) -> str:
        """Raises OSError, ValueError for what can be no name of a file."""
        if parts.scheme or parts.netloc or not parts.path:
            return f"it includes {href!r}, which is no file beside it"
        if not target.resolve().is_relative_to(self._folder):
            return f"it includes {href!r}, which lies outside of its folder"
        if target.resolve() in self._begun:
            return f"it includes {href!r}, which was read already"
        if not target.is_file():
            return f"it includes {href!r}, which is no file"
        if depth >= INCLUDED:
            return f"it includes {href!r}: files that include one another go too deep"
        return ""


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
