"""How clients and servers find the server."""

from __future__ import annotations

from .. import names
from ..model import Category, Verdict, skipped
from ..registry import at, check
from ..visit import Visit

RECORD = "Add the DNS record `_{}._tcp.DOMAIN. SRV 0 5 PORT HOST.` (docs/howto/doctor.md)."


async def _record(visit: Visit, service: str, wanted: bool) -> Verdict:
    try:
        found = await names.ask(service, visit.domain, visit.options.resolver, visit.timeout)
    except names.NotChecked as why:
        return skipped(f"not checked: {why}")
    return names.judge(found, wanted)


@check(
    "srv-client", "SRV _xmpp-client", at(Category.CONNECTION), sources="RFC 6120",
    mend=RECORD.format("xmpp-client"), before=True,
)  # fmt: skip
async def client(visit: Visit) -> Verdict:
    return await _record(visit, "_xmpp-client", wanted=False)


@check(
    "srv-client-direct", "SRV _xmpps-client", at(Category.CONNECTION), sources="XEP-0368",
    mend=RECORD.format("xmpps-client"), before=True,
)  # fmt: skip
async def client_direct(visit: Visit) -> Verdict:
    return await _record(visit, "_xmpps-client", wanted=True)


@check(
    "srv-server", "SRV _xmpp-server", at(Category.CONNECTION), sources="RFC 6120",
    mend=RECORD.format("xmpp-server"), before=True,
)  # fmt: skip
async def server(visit: Visit) -> Verdict:
    return await _record(visit, "_xmpp-server", wanted=False)


@check(
    "srv-server-direct", "SRV _xmpps-server", at(Category.CONNECTION), sources="XEP-0368",
    mend=RECORD.format("xmpps-server"), before=True,
)  # fmt: skip
async def server_direct(visit: Visit) -> Verdict:
    return await _record(visit, "_xmpps-server", wanted=True)
