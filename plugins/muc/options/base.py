"""What a room option is: its field in the form, its feature in service discovery, its rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from xmppd.errors import NotAcceptable
from xmppd.xep.forms import Field, Submitted

from ..model import Affiliation, Role, Value

if TYPE_CHECKING:
    from ..entering import Entry
    from ..model import Occupant
    from ..state import RoomState

TEXT_LENGTH = 4000


class Option:
    """One option of a room (XEP-0045 section 10.2). Rules raise the StanzaError that refuses.

    `var`: the field's name and the key of the value in the room. The rules do nothing unless overridden.
    """

    var: ClassVar[str]
    label: ClassVar[str]
    default: ClassVar[Value]

    def fields(self, room: RoomState) -> list[Field]:
        """For the configuration form, with the present value."""
        raise NotImplementedError

    def read(self, form: Submitted, room: RoomState) -> Value | None:
        """The value in a submitted form; None leaves it as it is. Raises BadRequest or NotAcceptable."""
        raise NotImplementedError

    def feature(self, room: RoomState) -> str:
        """For disco#info, "" for none (section 15.3)."""
        return ""

    def info(self, room: RoomState) -> Field | None:
        """For the muc#roominfo form (section 15.5.4)."""
        return None

    def codes(self, before: Value, after: Value) -> tuple[int, ...]:
        """Status codes that announce the change (section 10.2.1)."""
        return (104,)

    def may_enter(self, room: RoomState, entry: Entry, affiliation: Affiliation) -> None: ...

    def may_speak(self, room: RoomState, occupant: Occupant) -> None: ...

    def may_whisper(self, room: RoomState, occupant: Occupant, to: Occupant) -> None: ...

    def may_invite(self, room: RoomState, occupant: Occupant, affiliation: Affiliation) -> None: ...

    def may_set_subject(self, room: RoomState, occupant: Occupant) -> None: ...

    def role(self, room: RoomState, affiliation: Affiliation) -> Role | None:
        """The role that one enters with, None for the usual one (section 5.1.2)."""
        return None


class Flag(Option):
    """Yes or no."""

    default: ClassVar[bool] = False

    def of(self, room: RoomState) -> bool:
        return bool(room.options.get(self.var, self.default))

    def fields(self, room: RoomState) -> list[Field]:
        return [Field(self.var, "boolean", self.label, ("1" if self.of(room) else "0",))]

    def read(self, form: Submitted, room: RoomState) -> Value | None:
        return form.boolean(self.var)


class Text(Option):
    """A line of text."""

    default: ClassVar[str] = ""
    length: ClassVar[int] = TEXT_LENGTH

    def of(self, room: RoomState) -> str:
        return str(room.options.get(self.var, self.default))

    def fields(self, room: RoomState) -> list[Field]:
        return [Field(self.var, "text-single", self.label, (self.of(room),))]

    def read(self, form: Submitted, room: RoomState) -> Value | None:
        text = form.text(self.var)
        if text is not None and len(text) > self.length:
            raise NotAcceptable(f"{self.label}: at most {self.length} characters")
        return text


class Choice(Option):
    """One of some words. `choices`: (value, label)."""

    default: ClassVar[str]
    choices: ClassVar[tuple[tuple[str, str], ...]]

    def of(self, room: RoomState) -> str:
        return str(room.options.get(self.var, self.default))

    def fields(self, room: RoomState) -> list[Field]:
        return [Field(self.var, "list-single", self.label, (self.of(room),), self.choices)]

    def read(self, form: Submitted, room: RoomState) -> Value | None:
        text = form.text(self.var)
        if text is not None and text not in dict(self.choices):
            raise NotAcceptable(f"{self.label}: no such choice")
        return text
