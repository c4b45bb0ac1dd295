"""What a room option is: its field in the form, its feature in service discovery, its rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol

from xmppd.errors import NotAcceptable
from xmppd.xep.forms import Field, Submitted

from ..model import Affiliation, JoinRequest, Occupant, Role, ServiceSettings, Value

TEXT_LENGTH = 4000


class OptionRoom(Protocol):
    """What an option reads of a room."""

    @property
    def options(self) -> Mapping[str, Value]:
        """Values by variable name."""

    @property
    def settings(self) -> ServiceSettings: ...

    @property
    def sessions(self) -> Mapping[str, Occupant]:
        """The occupants by the full JIDs of their clients."""


class Option:
    """One option of a room (XEP-0045 section 10.2). Rules raise the StanzaError that refuses.

    `var`: the field's name and the key of the value in the room. The rules do nothing unless overridden.
    """

    var: ClassVar[str]
    label: ClassVar[str]
    default: ClassVar[Value]

    def fields(self, room: OptionRoom) -> list[Field]:
        """For the configuration form, with the present value."""
        raise NotImplementedError

    def read(self, form: Submitted, room: OptionRoom) -> Value | None:
        """The value in a submitted form; None leaves it as it is. Raises BadRequest or NotAcceptable."""
        raise NotImplementedError

    def feature(self, room: OptionRoom) -> str:
        """For disco#info, "" for none (section 15.3)."""
        return ""

    def info(self, room: OptionRoom) -> Field | None:
        """For the muc#roominfo form (section 15.5.4)."""
        return None

    def codes(self, before: Value, after: Value) -> tuple[int, ...]:
        """Status codes that announce the change (section 10.2.1)."""
        return (104,)

    def may_join(self, room: OptionRoom, request: JoinRequest, affiliation: Affiliation) -> None: ...

    def may_speak(self, room: OptionRoom, occupant: Occupant) -> None: ...

    def may_send_private(self, room: OptionRoom, occupant: Occupant, to: Occupant) -> None: ...

    def may_invite(self, room: OptionRoom, occupant: Occupant, affiliation: Affiliation) -> None: ...

    def may_set_subject(self, room: OptionRoom, occupant: Occupant) -> None: ...

    def initial_role(self, room: OptionRoom, affiliation: Affiliation) -> Role | None:
        """The role that one joins with, None for the usual one (section 5.1.2)."""
        return None


class Flag(Option):
    """Yes or no."""

    default: ClassVar[bool] = False

    def of(self, room: OptionRoom) -> bool:
        return bool(room.options.get(self.var, self.default))

    def fields(self, room: OptionRoom) -> list[Field]:
        return [Field(self.var, "boolean", self.label, ("1" if self.of(room) else "0",))]

    def read(self, form: Submitted, room: OptionRoom) -> Value | None:
        return form.boolean(self.var)


class Text(Option):
    """A line of text."""

    default: ClassVar[str] = ""
    length: ClassVar[int] = TEXT_LENGTH

    def of(self, room: OptionRoom) -> str:
        return str(room.options.get(self.var, self.default))

    def fields(self, room: OptionRoom) -> list[Field]:
        return [Field(self.var, "text-single", self.label, (self.of(room),))]

    def read(self, form: Submitted, room: OptionRoom) -> Value | None:
        text = form.text(self.var)
        if text is not None and len(text) > self.length:
            raise NotAcceptable(f"{self.label}: at most {self.length} characters")
        return text


class Choice(Option):
    """One of some words. `choices`: (value, label)."""

    default: ClassVar[str]
    choices: ClassVar[tuple[tuple[str, str], ...]]

    def of(self, room: OptionRoom) -> str:
        return str(room.options.get(self.var, self.default))

    def fields(self, room: OptionRoom) -> list[Field]:
        return [Field(self.var, "list-single", self.label, (self.of(room),), self.choices)]

    def read(self, form: Submitted, room: OptionRoom) -> Value | None:
        text = form.text(self.var)
        if text is not None and text not in dict(self.choices):
            raise NotAcceptable(f"{self.label}: no such choice")
        return text


class Choices(Option):
    """Several of some words, or none. The value is the words that are chosen, with spaces in between."""

    default: ClassVar[str]
    choices: ClassVar[tuple[tuple[str, str], ...]]

    def of(self, room: OptionRoom) -> tuple[str, ...]:
        return tuple(str(room.options.get(self.var, self.default)).split())

    def fields(self, room: OptionRoom) -> list[Field]:
        return [Field(self.var, "list-multi", self.label, self.of(room), self.choices)]

    def read(self, form: Submitted, room: OptionRoom) -> Value | None:
        words = form.values.get(self.var)
        if words is None:
            return None
        known = dict(self.choices)
        if not known.keys() >= set(words):
            raise NotAcceptable(f"{self.label}: no such choice")
        return " ".join(word for word in known if word in words)
