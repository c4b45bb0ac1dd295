"""The words of one archive in an SQLite file, by FTS5. Plain calls, for a thread; one at a time."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from xmppd.stanza import embedded
from xmppd.storage.api import Entry, Range
from xmppd.xep.stored_message import StoredMessage
from xmppd.xml import CLIENT_NS, Element, name_of, parse

VERSION: Final = 1
MOST_WORDS: Final = 16
ENCRYPTED: Final = frozenset(
    (
        "urn:xmpp:eme:0",
        "eu.siacs.conversations.axolotl",
        "urn:xmpp:omemo:2",
        "urn:xmpp:openpgp:0",
        "jabber:x:encrypted",
    )
)
"""Beside these a body only says that there is something to decrypt."""
HIGHEST: Final = (1 << 63) - 1
_UNSPACED: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Scripts without spaces between words (Thai, Lao, Burmese, Khmer, Kana, Han): each letter counts as a word."""
_SINGLE = re.compile(f"([{_UNSPACED}])")
_WORD = re.compile(r"\w+")


def spread(text: str) -> str:
    """The text as the tokenizer sees words in it."""
    return _SINGLE.sub(r" \1 ", text)


def words(text: str) -> list[str]:
    """What is asked for: each a word or, of a script without spaces, several letters in a row."""
    found = (" ".join(_WORD.findall(spread(word))) for word in text.split())
    return [each for each in found if each][:MOST_WORDS]


def text_of(entry: Entry) -> str:
    """The bodies and the subject of a stored message, "" if there is none that can be read."""
    if not StoredMessage(entry.body).may_have_text:
        return ""
    try:
        tree: Element = parse(embedded(entry.body))
    except ValueError:
        return ""
    names = [name_of(child) for child in tree]
    if any(ns in ENCRYPTED for ns, _ in names):
        return ""
    return "\n".join(
        child.text or ""
        for child, (ns, name) in zip(tree, names, strict=True)
        if ns == CLIENT_NS and name in ("body", "subject")
    )


def peer_token(peer: str) -> str:
    return hashlib.sha256(peer.encode()).hexdigest()[:24]


class Index:
    """`path` None: in memory. Raises sqlite3.Error."""

    def __init__(self, path: Path | None, owner: str) -> None:
        if path is not None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
        try:
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._prepare(owner)
        except sqlite3.DatabaseError:
            self._db.close()
            if path is None:
                raise
            path.unlink()  # no index, or a damaged one
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            path.chmod(0o600)
            self._prepare(owner)

    def _prepare(self, owner: str) -> None:
        db = self._db
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version != VERSION:
            if version:
                raise sqlite3.DatabaseError("an index of another version")
            db.execute("BEGIN")
            # Without its texts: a word leads to an id, and the archive has the message.
            db.execute(
                "CREATE VIRTUAL TABLE words USING fts5(text, peer, content='', columnsize=0,"
                " tokenize='unicode61 remove_diacritics 2')"
            )
            db.execute("CREATE TABLE about (owner TEXT NOT NULL, until INTEGER NOT NULL, count INTEGER NOT NULL)")
            db.execute("INSERT INTO about VALUES (?, 0, 0)", (owner,))
            db.execute(f"PRAGMA user_version={VERSION}")
            db.execute("COMMIT")
        self.until, self.count = db.execute("SELECT until, count FROM about").fetchone()
        """Up to which id the archive was read, and how many messages are in the index."""

    @staticmethod
    def owner_of(path: Path) -> str | None:
        """Whose archive it is, None for a file that is no index."""
        try:
            db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
            try:
                return str(db.execute("SELECT owner FROM about").fetchone()[0])
            finally:
                db.close()
        except (sqlite3.Error, TypeError):
            return None

    def close(self) -> None:
        self._db.close()

    def add(self, entries: Sequence[Entry], until: int) -> None:
        """Take in the next entries; everything up to `until` has been read with them."""
        texts = [(entry.id, spread(text), peer_token(entry.peer)) for entry in entries if (text := text_of(entry))]
        db = self._db
        db.execute("BEGIN")
        try:
            db.executemany("INSERT INTO words (rowid, text, peer) VALUES (?, ?, ?)", texts)
            db.execute("UPDATE about SET until = ?, count = count + ?", (until, len(texts)))
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        self.until, self.count = until, self.count + len(texts)

    def find(self, asked: Sequence[str], wanted: Range, most: int, backwards: bool) -> tuple[int, ...]:
        """Ids of messages that hold the beginnings of all words, rising: the first `most` of them, or the last."""
        terms = " AND ".join(f'text : "{each}" *' for each in asked)
        if wanted.peer is not None:
            terms += f' AND peer : "{peer_token(wanted.peer)}"'
        low = max(wanted.low or 0, (wanted.after or 0) + 1)
        highs = [
            each for each in (wanted.high, None if wanted.before is None else wanted.before - 1) if each is not None
        ]
        high = min(highs, default=(1 << 63) - 1)
        rows = self._db.execute(
            f"SELECT rowid FROM words WHERE words MATCH ? AND rowid BETWEEN ? AND ?"
            f" ORDER BY rowid {'DESC' if backwards else 'ASC'} LIMIT ?",
            (terms, low, high, most),
        ).fetchall()
        return tuple(sorted(id for (id,) in rows))
