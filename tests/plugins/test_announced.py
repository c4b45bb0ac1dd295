"""What is announced works: every feature that service discovery shows has a handler, or a test that is named here."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness import Harness
from xmppd.plugin import To

INFO = "http://jabber.org/protocol/disco#info"
HOSTS = {
    "pubsub.localhost": {"type": "pubsub"},
    "proxy.localhost": {"type": "proxy", "plugins": {"proxy65": {"port": 0}}},
}
KINDS = {
    "http://jabber.org/protocol/pubsub": "tests/plugins/pubsub",
    "http://jabber.org/protocol/muc": "tests/plugins/muc",
    "http://jabber.org/protocol/address": "tests/plugins/test_addressing.py",
    "http://jabber.org/protocol/caps": "tests/plugins/test_entity_caps.py",
    "http://jabber.org/protocol/offline": "tests/plugins/test_offline.py",
    "msgoffline": "tests/plugins/test_offline.py",
    "urn:xmpp:bookmarks:1#compat": "tests/plugins/test_bookmarks.py",
    "urn:xmpp:bookmarks:1#compat-pep": "tests/plugins/test_bookmarks.py",
    "urn:xmpp:bookmarks-conversion:0": "tests/plugins/test_bookmarks.py",
    "urn:xmpp:delegation:2": "tests/plugins/test_delegation.py",
    "urn:xmpp:fulltext:0": "tests/plugins/test_search.py",
    "urn:xmpp:mam:2#extended": "tests/plugins/test_archive_query.py",
    "urn:xmpp:message-retract:1": "tests/plugins/test_retraction.py",
    "urn:xmpp:message-retract:1#tombstone": "tests/plugins/test_retraction.py",
    "urn:xmpp:occupant-id:0": "tests/plugins/muc",
    "vcard-temp": "tests/plugins/muc/test_card.py",
    "urn:xmpp:pep-vcard-conversion:0": "tests/plugins/test_avatars.py",
    "urn:xmpp:reporting:1": "tests/plugins/test_reports.py",
    "urn:xmpp:sid:0": "tests/plugins/test_stable_ids.py",
    "http://jabber.org/protocol/muc#stable_id": "tests/plugins/muc",
}
"""Features that are no IQ; those of pubsub and of rooms are compared with what works by their own tests."""


def handled(host: Any, account: bool) -> set[str]:
    """Namespaces of the payloads that are answered."""
    places = (To.SELF, To.ACCOUNT) if account else (To.HOST, To.SELF)
    return {tag.rpartition("|")[0] for _, tag, to in host.answers.__self__._iqs if to in places}


@pytest.mark.server(hosts=HOSTS)
@pytest.mark.parametrize(
    "to", ["localhost", "romeo@localhost", "conference.localhost", "pubsub.localhost", "proxy.localhost"]
)
async def test_every_feature_works(server: Harness, to: str) -> None:
    romeo = await server.login("romeo")
    answer = await romeo.iq(f"<query xmlns='{INFO}'/>", to=to)
    features = {str(each.get("var")) for each in answer[0].iter(f"{{{INFO}}}feature")}
    works = handled(server.server.hosts[to.rpartition("@")[2]], "@" in to)
    unknown = {each for each in features - works if each not in KINDS and each.partition("#")[0] not in KINDS
               and not each.startswith("http://jabber.org/protocol/pubsub#")}  # fmt: skip
    assert not unknown


@pytest.mark.server(hosts=HOSTS)
async def test_what_works_is_announced(server: Harness) -> None:
    """The other way round: what an account or the host answers for strangers to read is found by discovery."""
    romeo = await server.login("romeo")
    shown: set[str] = set()
    for to in ("localhost", "romeo@localhost"):
        answer = await romeo.iq(f"<query xmlns='{INFO}'/>", to=to)
        shown |= {str(each.get("var")) for each in answer[0].iter(f"{{{INFO}}}feature")}
    unsaid = {
        "http://jabber.org/protocol/commands",  # only to who has some
        "http://jabber.org/protocol/pubsub#owner",  # part of http://jabber.org/protocol/pubsub
        "urn:ietf:params:xml:ns:xmpp-session",  # RFC 3921: a stream feature
        "urn:xmpp:mam:prefs:0",
        "urn:xmpp:privilege:2",  # told to each component that has some (XEP-0356 section 4.2)
    }
    assert handled(server.host, True) | handled(server.host, False) <= shown | unsaid
