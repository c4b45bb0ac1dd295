"""Typed keys for what one plugin provides and others use."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Service(Generic[T]):
    """A name at run time, a type for the checker. One provider per host."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<Service {self.name}>"
