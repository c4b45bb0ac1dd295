"""One preparation for every place that takes a domain (RFC 7622 section 3.2)."""

from __future__ import annotations

import pytest

from tests.harness import Harness
from xmppd.doctor.certificate import Certificate, judge_names
from xmppd.doctor.model import Result
from xmppd.jid import ascii_domain

MUNICH = "münchen.localhost"
SPELLINGS = (
    MUNICH,
    "xn--mnchen-3ya.localhost",
    "XN--MNCHEN-3YA.localhost",
    "mu\u0308nchen.localhost",
    "münchen.ｌｏｃａｌｈｏｓｔ",
    "MÜNCHEN.LOCALHOST.",
    "münchen。localhost",
)


@pytest.mark.server(hosts={"xn--mnchen-3ya.localhost": {}})
@pytest.mark.parametrize("spelled", SPELLINGS)
async def test_a_stream_header_names_a_host_in_any_spelling(server: Harness, spelled: str) -> None:
    await server.register("romeo", MUNICH)
    client = server.connect()
    await client.sign_in("romeo", domain=spelled)
    await client.bind("r")
    assert client.jid == f"romeo@{MUNICH}/r"


@pytest.mark.parametrize("to", ["xn--a", "a b", "-a", "romeo@localhost", "localhost/r", "x" * 5000, "\u200d"])
async def test_what_is_no_domain_is_an_unknown_host(server: Harness, to: str) -> None:
    client = server.connect()
    client.open(to)
    assert await client.stream_error() == "host-unknown"


@pytest.mark.server(hosts={MUNICH: {}})
@pytest.mark.parametrize("spelled", SPELLINGS)
async def test_an_operation_takes_any_spelling(server: Harness, spelled: str) -> None:
    operations = server.server.operations
    added = await operations.run("user.add", {"jid": f"Romeo@{spelled}", "password": "pencil"})
    assert added.text() == f"Added romeo@{MUNICH}."
    assert (await operations.run("user.list", {"domain": spelled})).text() == f"romeo@{MUNICH}"


@pytest.mark.parametrize("spelled", SPELLINGS)
def test_dns_and_certificates_get_the_ascii_form(spelled: str) -> None:
    assert ascii_domain(spelled) == "xn--mnchen-3ya.localhost"
    found = Certificate(("xn--mnchen-3ya.localhost",), *[None] * 2, "", True)  # type: ignore[arg-type]
    assert judge_names(found, spelled).result is Result.PASS


def test_an_address_has_no_brackets_in_a_certificate() -> None:
    assert ascii_domain("[::1]") == "::1"
    assert ascii_domain("127.0.0.1") == "127.0.0.1"
