"""A third party's operations, for the tests of the commands that are made from them."""

from __future__ import annotations

import enum
from typing import Annotated

from xmppd.config import Duration
from xmppd.contracts.admin import (
    AccountJid,
    Argument,
    Note,
    OperationError,
    Page,
    Result,
    Scope,
    Secret,
    Text,
    operation,
)
from xmppd.errors import Conflict
from xmppd.plugin import JID, NoConfig, Plugin


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Painted(Result, frozen=True):
    far: JID
    key: str
    inside: str
    outside: tuple[str, ...]
    wet: bool
    count: int
    dry: float
    words: str


class Painter(Plugin[NoConfig]):
    @operation("paint.house", "Paint a house.", dangerous=True)
    async def house(
        self,
        far: Annotated[JID, Argument("Any address.")],
        key: Annotated[Secret, Argument("The key.")],
        inside: Annotated[Colour, Argument("Which.")] = Colour.BLUE,
        outside: Annotated[tuple[Colour, ...], Argument("Which.")] = (),
        wet: Annotated[bool, Argument("Still wet.")] = False,
        count: Annotated[int, Argument("How many.")] = 1,
        dry: Annotated[Duration, Argument("So long.")] = Duration(60),  # noqa: B008
        words: Annotated[Text, Argument("What is written.")] = Text("none"),  # noqa: B008
    ) -> Painted:
        outsides = tuple(each.value for each in outside)
        return Painted(far, str(key), inside.value, outsides, wet, count, float(dry), str(words))

    @operation("paint.fail", "Fail.")
    async def fail(self) -> Note:
        raise OperationError("the brush is broken")

    @operation("paint.twice", "Paint what is painted.")
    async def twice(self, jid: Annotated[AccountJid, Argument("Whose.")]) -> Note:
        raise Conflict("it is painted")

    @operation("paint.list", "List houses.")
    async def list_(self, after: Annotated[str, Argument("Behind this one.")] = "") -> Page:
        first = int(after or "0")
        houses = tuple(f"house {number}" for number in range(first, first + 400))
        return Page(houses, "" if first else "400")

    @operation("paint.all", "Paint all.", scope=Scope.SERVER)
    async def everything(self) -> Note:
        return Note("all")
