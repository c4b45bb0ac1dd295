"""XEP-0115: Entity Capabilities of the server itself, in its stream features."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha1

from xmppd.config import option
from xmppd.contracts.disco import DISCO, DISCO_ALIASES, DiscoAsk
from xmppd.contracts.sessions import FEATURES, FeatureAsk
from xmppd.plugin import E, Element, Plugin, Xep, on
from xmppd.xml import LANG, children, text_of

NS = "http://jabber.org/protocol/caps"
INFO_NS = "http://jabber.org/protocol/disco#info"
DATA_NS = "jabber:x:data"
REFRESH = 300.0


@dataclass(frozen=True)
class Config:
    node: str = option("https://xmppd.example/", "The address that names this software (section 4).", low=1, high=500)


class EntityCaps(Plugin[Config]):
    xeps = (Xep(115, "1.6.0", "the server's own; those of clients are passed on as they are"),)
    features = (NS,)
    uses = (DISCO,)

    def setup(self) -> None:
        self.ver = ""

    async def start(self) -> None:
        await self.refresh()
        # Plugins that start later, or a changed configuration, may add to what the host shows.
        self.every(REFRESH, self.refresh, "refresh")

    async def refresh(self) -> None:
        info = await self.host.service(DISCO).info(DiscoAsk(self.host.jid))
        self.ver = verification(info)

    @on(FEATURES)
    def stream_feature(self, ask: FeatureAsk) -> Iterable[Element]:
        """Section 6.3."""
        if ask.signed_in and self.ver:
            yield E("c", NS, {"hash": "sha-1", "node": self.config.node, "ver": self.ver})

    @on(DISCO_ALIASES)
    def alias(self, ask: DiscoAsk) -> Iterable[str]:
        """Section 6.2: who has seen the <c/> asks for its node and ver."""
        if ask.account is None and ask.node == f"{self.config.node}#{self.ver}":
            yield ""


def verification(info: Element) -> str:
    """The `ver` of a disco#info <query/> (section 5.1): base64 of the SHA-1 of its sorted parts."""
    identities = sorted(
        (each.get("category", ""), each.get("type", ""), each.get(LANG, ""), each.get("name", ""))
        for each in children(info, INFO_NS, "identity")
    )
    features = sorted(str(each.get("var", "")) for each in children(info, INFO_NS, "feature"))
    forms = sorted(_form(each) for each in children(info, DATA_NS, "x"))
    text = "".join("/".join(map(str, each)) + "<" for each in identities)
    text += "".join(each + "<" for each in features)
    for form_type, fields in forms:
        text += form_type + "<"
        for var, values in fields:
            text += var + "<" + "".join(value + "<" for value in values)
    return b64encode(sha1(text.encode(), usedforsecurity=False).digest()).decode()


def _form(form: Element) -> tuple[str, list[tuple[str, list[str]]]]:
    form_type, fields = "", []
    for field in children(form, DATA_NS, "field"):
        values = sorted(text_of(value) for value in children(field, DATA_NS, "value"))
        if field.get("var") == "FORM_TYPE":
            form_type = values[0] if values else ""
        else:
            fields.append((str(field.get("var", "")), values))
    return form_type, sorted(fields)
