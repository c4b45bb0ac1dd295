"""The verification string (XEP-0115 section 5) and what may be believed of an answer (section 5.4)."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1, sha256
from typing import Final

from xmppd.plugin import Element
from xmppd.xml import LANG, children, text_of

INFO_NS: Final = "http://jabber.org/protocol/disco#info"
DATA_NS: Final = "jabber:x:data"
HASHES: Final = {"sha-1": sha1, "sha-256": sha256}
LARGEST: Final = 500
"""Features and identities that an answer may have."""


def verification(info: Element, hash: str = "sha-1") -> str:
    """The `ver` of a disco#info <query/> (section 5.1): base64 of the hash of its sorted parts."""
    identities = sorted(
        (each.get("category", ""), each.get("type", ""), each.get(LANG, ""), each.get("name", ""))
        for each in children(info, INFO_NS, "identity")
    )
    forms = sorted(_form(each) for each in children(info, DATA_NS, "x"))
    text = "".join("/".join(map(str, each)) + "<" for each in identities)
    text += "".join(each + "<" for each in sorted(features(info)))
    for form_type, fields in forms:
        text += form_type + "<"
        for var, values in fields:
            text += var + "<" + "".join(value + "<" for value in values)
    return b64encode(HASHES[hash](text.encode(), usedforsecurity=False).digest()).decode()


def features(info: Element) -> list[str]:
    return [str(each.get("var", "")) for each in children(info, INFO_NS, "feature")]


def believable(info: Element, hash: str, ver: str) -> bool:
    """Section 5.4, points 3 to 5: well-formed, and its hash is what was announced."""
    if hash not in HASHES:
        return False
    names = features(info)
    identities = [
        (each.get("category"), each.get("type"), each.get(LANG), each.get("name"))
        for each in children(info, INFO_NS, "identity")
    ]
    types = [_form(each)[0] for each in children(info, DATA_NS, "x")]
    if max(len(names), len(identities), len(types)) > LARGEST:
        return False
    if len(set(names)) < len(names) or len(set(identities)) < len(identities) or len(set(types)) < len(types):
        return False
    return verification(info, hash) == ver


def _form(form: Element) -> tuple[str, list[tuple[str, list[str]]]]:
    form_type, fields = "", []
    for field in children(form, DATA_NS, "field"):
        values = sorted(text_of(value) for value in children(field, DATA_NS, "value"))
        if field.get("var") == "FORM_TYPE":
            form_type = values[0] if values else ""
        else:
            fields.append((str(field.get("var", "")), values))
    return form_type, sorted(fields)
