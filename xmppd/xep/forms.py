"""XEP-0004: Data Forms, with the form types of XEP-0068 and the open lists of XEP-0122."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from ..errors import BadRequest, JidMalformed, MalformedJid, NotAcceptable
from ..jid import JID
from ..xml import E, Element, children, find, text_of
from .numbers import unsigned

NS: Final = "jabber:x:data"
VALIDATE_NS: Final = "http://jabber.org/protocol/xdata-validate"
MAX_FIELDS: Final = 200
MAX_VALUES: Final = 1000


@dataclass(frozen=True, slots=True)
class Field:
    """`options`: (value, label) pairs of a list. `open`: a list that takes any value (XEP-0122 section 3.2)."""

    var: str
    type: str = "text-single"
    label: str = ""
    values: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    required: bool = False
    open: bool = False

    def element(self) -> Element:
        attributes = {"var": self.var, "type": self.type}
        if self.label:
            attributes["label"] = self.label
        found = E("field", NS, attributes)
        if self.open:
            found.append(E("validate", VALIDATE_NS, {"datatype": "xs:string"}, E("open", VALIDATE_NS)))
        if self.required:
            found.append(E("required", NS))
        found.extend(E("value", NS, {}, value) for value in self.values)
        for value, label in self.options:
            found.append(E("option", NS, {"label": label} if label else {}, E("value", NS, {}, value)))
        return found


def form(kind: str, form_type: str, fields: Iterable[Field], title: str = "", text: str = "") -> Element:
    """<x/> of that kind ("form", "result", "submit") and FORM_TYPE."""
    return E(
        "x",
        NS,
        {"type": kind},
        E("title", NS, {}, title) if title else None,
        E("instructions", NS, {}, text) if text else None,
        Field("FORM_TYPE", "hidden", values=(form_type,)).element(),
        *(each.element() for each in fields),
    )


@dataclass(frozen=True, slots=True)
class Submitted:
    """A form that was filled in. `type`: "submit" or "cancel"; `form_type`: "" without a FORM_TYPE."""

    type: str
    form_type: str = ""
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
        number = unsigned(text)
        if number is None or not low <= number <= high:
            raise NotAcceptable(f"{var} is a number from {low} to {high}")
        return number

    def jid(self, var: str) -> JID | None:
        """Raises JidMalformed."""
        text = self.text(var)
        if text is None or text == "":
            return None
        try:
            return JID.parse(text)
        except MalformedJid:
            raise JidMalformed(f"{var} is an address") from None


def read_form(parent: Element, untyped: str = "") -> Submitted | None:
    """The form below `parent`, None if there is none. `untyped`: what a form without a type is taken for; XEP-0004
    section 3.2 requires one, and not every client of a protocol keeps to it.

    Raises BadRequest for a field that is there twice, for too many fields or values, and for a form that was not
    filled in (type "form" or "result").
    """
    x = find(parent, NS, "x")
    if x is None:
        return None
    kind = str(x.get("type", untyped))
    if kind not in ("submit", "cancel"):
        raise BadRequest("the form is not submitted")
    values: dict[str, tuple[str, ...]] = {}
    for each in children(x, NS, "field"):
        var = each.get("var")
        if var is None:
            continue
        if str(var) in values or len(values) >= MAX_FIELDS:
            raise BadRequest("a field is there twice, or there are too many")
        found = tuple(text_of(value) for value in children(each, NS, "value"))
        if len(found) > MAX_VALUES:
            raise BadRequest("too many values")
        values[str(var)] = found
    form_type = values.pop("FORM_TYPE", ())
    return Submitted(kind, form_type[0] if form_type else "", values)
