"""The Core suite, behind the sign-in."""

from __future__ import annotations

from ..model import Category, Level, Verdict, failed, judged, passed, skipped
from ..registry import at, check
from ..trees import INFO, Info, info
from ..visit import Visit, server_info, services

CAPS = "http://jabber.org/protocol/caps"
CONTACT = "http://jabber.org/network/serverinfo"
REGISTER = "jabber:iq:register"


def judge_disco(found: Info, others: int) -> Verdict:
    if ("server", "im") not in found.identities:
        return failed("the domain does not say that it is a chat server (identity server/im)")
    lacking = found.lacks("http://jabber.org/protocol/disco#info")
    return judged(not lacking, f"{len(found.features)} features, {others} services", f"no feature {' '.join(lacking)}")


def judge_caps(ver: str | None, found: Info | None) -> Verdict:
    """`found`: what the server says about the version it announces."""
    if ver is None:
        return failed("no <c/> in the stream features")
    if found is None or not found.features:
        return failed("nothing is known about the version that is announced")
    return passed(f"{len(found.features)} features behind it")


def judge_contacts(found: Info) -> Verdict:
    """XEP-0157: somebody to write to about abuse, at least an administrator."""
    fields = found.forms.get(CONTACT, {})
    told = {name: values for name, values in fields.items() if name.endswith("-addresses") and any(values)}
    if "abuse-addresses" in told or "admin-addresses" in told:
        return passed(", ".join(sorted(name.removesuffix("-addresses") for name in told)))
    return failed(f"only {', '.join(sorted(told))}" if told else "none is told")


@check(
    "stream", "Signing in, binding a resource", at(Category.CORE, Level.CORE), sources="RFC 6120",
    mend="See what the server's log says.",
)  # fmt: skip
async def stream(visit: Visit) -> Verdict:
    mechanism = visit.client.mechanism
    return passed(f"as {visit.client.boundjid.full} by {mechanism}") if mechanism else failed("not by SASL")


@check(
    "disco", "Feature discovery", at(Category.CORE, Level.CORE), sources="XEP-0030",
    mend="Enable service discovery (XEP-0030).",
)  # fmt: skip
async def disco(visit: Visit) -> Verdict:
    return judge_disco(await visit.once(server_info), len(await visit.once(services)) - 1)


@check(
    "caps", "Feature broadcasts: in the stream features", at(Category.CORE, Level.ADVANCED), sources="XEP-0115",
    mend="Enable entity capabilities (XEP-0115 section 6.3) of the server.", tester=True,
)  # fmt: skip
async def caps(visit: Visit) -> Verdict:
    offered = visit.client.offers[-1].find(f"{{{CAPS}}}c")
    if offered is None:
        return judge_caps(None, None)
    ver = offered.get("ver", "")
    node = f"{offered.get('node', '')}#{ver}".replace("&", "&amp;").replace("'", "&apos;").replace("<", "&lt;")
    return judge_caps(ver, info(await visit.get(f"<query xmlns='{INFO}' node='{node}'/>", visit.domain)))


@check(
    "components", "Components can connect", at(Category.CORE, Level.CORE), sources="XEP-0114",
    mend="Enable components (XEP-0114).",
)  # fmt: skip
async def components(visit: Visit) -> Verdict:
    return skipped("no client can see this; look at the server's configuration")


@check(
    "contacts", "Contact addresses", at(Category.IM), sources="XEP-0157", tester=True,
    mend="Tell an address for abuse in the server's configuration (XEP-0157).",
)  # fmt: skip
async def contacts(visit: Visit) -> Verdict:
    return judge_contacts(await visit.once(server_info))


@check(
    "register", "Changing the password, deleting the account", at(Category.IM), sources="XEP-0077", tester=True,
    mend="Enable in-band registration (XEP-0077) for those who have an account.",
)  # fmt: skip
async def register(visit: Visit) -> Verdict:
    found = await visit.get(f"<query xmlns='{REGISTER}'/>")
    return judged(
        found.tag == f"{{{REGISTER}}}query" and found.find(f"{{{REGISTER}}}registered") is not None,
        "for accounts", "the server does not know that this account is registered",
    )  # fmt: skip
