"""Numbers about the running server."""

from __future__ import annotations


class HookTimes:
    """Time spent in plugins' handlers, from samples."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds: dict[str, tuple[int, float]] = {}
        """By "plugin.method": samples, seconds in all."""

    def add(self, name: str, seconds: float) -> None:
        count, total = self.seconds.get(name, (0, 0.0))
        self.seconds[name] = (count + 1, total + seconds)
