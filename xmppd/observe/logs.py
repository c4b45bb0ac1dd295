"""Logging: one line per event, whatever it holds (T36)."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from ..config import LogConfig


def escaped(text: str) -> str:
    """The text on one line: control characters and line separators of every kind are written as escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


class TextFormat(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        line = f"{moment:%Y-%m-%d %H:%M:%S} {record.levelname:7} {record.name}: {escaped(record.getMessage())}"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            line += "".join(f"\n    {escaped(part)}" for part in trace.split("\n"))
        return line


class JsonFormat(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        fields = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["trace"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def configure(config: LogConfig) -> None:
    """Set up the root logger as the configuration says. Raises OSError when the file cannot be opened."""
    handler: logging.Handler
    if config.file is not None:
        handler = logging.FileHandler(config.file, encoding="utf-8")
    else:
        handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormat() if config.format == "json" else TextFormat())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(config.level.upper())
    logging.getLogger("pymongo").setLevel(logging.WARNING)
