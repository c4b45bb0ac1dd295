"""Data forms (XEP-0004), as far as rooms need them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from xmppd.errors import BadRequest, NotAcceptable
from xmppd.xml import E, Element, children, find, text_of

DATA_NS: Final = "jabber:x:data"
MAX_FIELDS: Final = 100
MAX_VALUES: Final = 1000


@dataclass(frozen=True, slots=True)
class Field:
    """`options`: (value, label) pairs of a list."""

    var: str
    type: str = "text-single"
    label: str = ""
    values: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    required: bool = False

    def element(self) -> Element:
        attributes = {"var": self.var, "type": self.type}
        if self.label:
            attributes["label"] = self.label
        choices = [
            E("option", DATA_NS, {"label": label} if label else {}, E("value", DATA_NS, {}, value))
            for value, label in self.options
        ]
        values = [E("value", DATA_NS, {}, value) for value in self.values]
        return E("field", DATA_NS, attributes, E("required", DATA_NS) if self.required else None, *choices, *values)


def form(kind: str, form_type: str, fields: Iterable[Field], title: str = "", text: str = "") -> Element:
    """<x/> of that type ("form", "result", "submit")."""
    return E(
        "x",
        DATA_NS,
        {"type": kind},
        E("title", DATA_NS, {}, title) if title else None,
        E("instructions", DATA_NS, {}, text) if text else None,
        Field("FORM_TYPE", "hidden", values=(form_type,)).element(),
        *(each.element() for each in fields),
    )


@dataclass(frozen=True, slots=True)
class Submitted:
    """A form that was filled in."""

    type: str
    form_type: str
    values: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def text(self, var: str) -> str | None:
        """The first value, "" for a field without one, None for no such field."""
        values = self.values.get(var)
        if values is None:
            return None
        return values[0] if values else ""

    def boolean(self, var: str) -> bool | None:
        """Raises BadRequest (XEP-0004 section 3.3)."""
        text = self.text(var)
        if text is None or text == "":
            return None
        if text not in ("0", "1", "true", "false"):
            raise BadRequest(f"{var} is a boolean")
        return text in ("1", "true")

    def integer(self, var: str, low: int, high: int) -> int | None:
        """Raises NotAcceptable outside of the bounds."""
        text = self.text(var)
        if text is None or text == "":
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 10) or not low <= int(text) <= high:
            raise NotAcceptable(f"{var} is a number from {low} to {high}")
        return int(text)


def read_form(parent: Element) -> Submitted | None:
    """The form below `parent`, None if there is none. Raises BadRequest."""
    x = find(parent, DATA_NS, "x")
    if x is None:
        return None
    values: dict[str, tuple[str, ...]] = {}
    for each in children(x, DATA_NS, "field"):
        var = each.get("var")
        if var is None:
            continue
        if var in values or len(values) >= MAX_FIELDS:
            raise BadRequest("a field is there twice, or there are too many")
        found = tuple(text_of(value) for value in children(each, DATA_NS, "value"))
        if len(found) > MAX_VALUES:
            raise BadRequest("too many values")
        values[var] = found
    form_type = values.pop("FORM_TYPE", ("",))
    return Submitted(x.get("type", ""), form_type[0] if form_type else "", values)
