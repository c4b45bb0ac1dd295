"""Finds out what somebody wants to import: a file of XEP-0227, what Prosody has stored, or what ejabberd has dumped."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from .ejabberd_dump import EjabberdDump
from .events import Source
from .exporter import MAIN, MORE
from .pie import PieSource
from .prosody import ProsodySource
from .prosody_files import ProsodyFiles
from .prosody_sql import ProsodySql


class UnknownSource(Exception):
    """It is nothing that can be imported; the text says so."""


def open_source(path: Path) -> tuple[str, Source]:
    """What it is, for people, and its reader. Raises UnknownSource."""
    try:
        if path.is_dir():
            if ProsodyFiles.recognises(path):
                return "the data folder of a Prosody", ProsodySource(ProsodyFiles(path))
            main = [each for each in (path / MAIN, path / MORE) if each.is_file()]
            if main:
                return "files of XEP-0227", PieSource(*main)
            raise UnknownSource(f"{path}: neither Prosody's data folder nor one with files of XEP-0227 (server.xml)")
        if ProsodySql.recognises(path):
            return "the database of a Prosody", ProsodySource(ProsodySql(path))
        with path.open("rb") as file:
            begin = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    except OSError as error:
        raise UnknownSource(f"{path}: {error.strerror or error}") from None
    except sqlite3.Error as error:
        raise UnknownSource(f"{path}: {error}") from None
    if EjabberdDump.recognises(begin):
        return "what ejabberd has dumped", EjabberdDump(path)
    if begin.startswith(b"<") or begin.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "a file of XEP-0227", PieSource(path)
    raise UnknownSource(f"{path}: neither XML (XEP-0227), nor of Prosody, nor a dump of ejabberd")
