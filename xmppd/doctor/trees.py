"""What answers say. Trees are those of the standard library, because slixmpp's are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

DATA: str = "{jabber:x:data}"
INFO = "http://jabber.org/protocol/disco#info"
ITEMS = "http://jabber.org/protocol/disco#items"


@dataclass(frozen=True)
class Info:
    """A disco#info answer: identities as (category, type), features, fields of its forms by FORM_TYPE."""

    identities: frozenset[tuple[str, str]] = frozenset()
    features: frozenset[str] = frozenset()
    forms: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def lacks(self, *features: str) -> list[str]:
        return [feature for feature in features if feature not in self.features]


def info(query: ET.Element) -> Info:
    """Read a disco#info <query/>."""
    found = f"{{{INFO}}}"
    forms: dict[str, dict[str, list[str]]] = {}
    for form in query.findall(f"{DATA}x"):
        values = fields(form)
        forms[next(iter(values.get("FORM_TYPE", [])), "")] = values
    return Info(
        frozenset((each.get("category", ""), each.get("type", "")) for each in query.findall(f"{found}identity")),
        frozenset(each.get("var", "") for each in query.findall(f"{found}feature")),
        forms,
    )


def fields(form: ET.Element) -> dict[str, list[str]]:
    """The values of a data form by the names of its fields."""
    return {
        each.get("var", ""): [value.text or "" for value in each.findall(f"{DATA}value")]
        for each in form.findall(f"{DATA}field")
    }


def payload(iq: ET.Element) -> ET.Element:
    """The first child of an IQ, an empty element when it has none."""
    return next(iter(iq), ET.Element("none"))


def has(parent: ET.Element | None, ns: str, name: str) -> bool:
    return parent is not None and parent.find(f"{{{ns}}}{name}") is not None


def submit(form_type: str, values: Iterable[tuple[str, str]]) -> str:
    """A filled-in form as XML."""
    inside = "".join(
        f"<field var={quoteattr(name)}><value>{value}</value></field>"
        for name, value in [("FORM_TYPE", form_type), *values]
    )
    return f"<x xmlns='jabber:x:data' type='submit'>{inside}</x>"
