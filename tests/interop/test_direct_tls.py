"""Server streams with TLS from the first byte (XEP-0368): DNS leads nowhere else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.conftest import Members, missing
from tests.interop.peers import Federation, Trust, missing_peers


@pytest.fixture(scope="module", params=[Trust.SERVER_ONLY, Trust.SELF_SIGNED], ids=lambda trust: trust.name.lower())
def direct(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    for program in missing_peers():
        missing(f"{program} (tests/prepare.sh installs it)")
    with Federation(tmp_path_factory.mktemp("direct"), request.param, direct=True) as federation:
        yield federation


@pytest.mark.parametrize("peer", ["prosody", "ejabberd"])
@pytest.mark.parametrize("starts", ["we", "they"])
async def test_direct_tls(direct: Federation, members: Members, peer: str, starts: str) -> None:
    there = getattr(direct, peer)
    romeo, juliet = await members.login(direct.ours, "romeo"), await members.login(there, "juliet")
    first, second = (romeo, juliet) if starts == "we" else (juliet, romeo)
    first.say(str(second.boundjid), "what news?")
    heard = await second.hear()
    assert (str(heard["from"]), heard["body"]) == (str(first.boundjid), "what news?")
    second.say(str(first.boundjid), "good news")
    assert (await first.hear())["body"] == "good news"
