"""The table of a client's negotiation: what it says is what a stream does, in every state."""

from __future__ import annotations

import base64
from itertools import pairwise

import pytest

from tests.harness import Client, Harness
from xmppd.errors import LocalError
from xmppd.streams.negotiation import BIND_NS, SASL_NS, TABLE, TLS_NS, Event, State, Step

PLAIN = base64.b64encode(b"\0romeo\0pencil").decode()
SENT = {
    "starttls": f"<starttls xmlns='{TLS_NS}'/>",
    "sasl": f"<auth xmlns='{SASL_NS}' mechanism='PLAIN'>{PLAIN}</auth>",
    "registration": "<iq type='get' id='r'><query xmlns='jabber:iq:register'/></iq>",
    "bind": f"<iq type='set' id='b'><bind xmlns='{BIND_NS}'/></iq>",
    "stanza": "<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>",
    "a plugin's": "<enable xmlns='urn:xmpp:sm:3'/>",
    "unknown": "<x xmlns='urn:x'/>",
}
"""What a client may send, by a name for it."""
ANSWERS = {
    State.CLEAR: {"starttls": "proceed"},
    State.STRANGER: {"sasl": "success", "registration": "iq", "a plugin's": "failed"},
    State.SIGNED_IN: {"bind": "iq", "a plugin's": "failed"},
    State.BOUND: {"registration": "iq", "bind": "iq", "stanza": "iq", "a plugin's": "enabled"},
}
"""What is allowed in each state, and the name of the answer."""
REFUSED = {
    State.CLEAR: ("policy-violation", "not-authorized"),
    State.STRANGER: ("not-authorized", "not-authorized"),
    State.SIGNED_IN: ("not-authorized", "not-authorized"),
    State.BOUND: ("unsupported-stanza-type", "unsupported-stanza-type"),
}
"""The stream errors for other elements, and for stanzas."""


async def reach(server: Harness, state: State) -> Client:
    await server.register("romeo")
    client = server.connect("starttls" if state is State.CLEAR else "none")
    client.open()
    await client.receive()
    if state in (State.SIGNED_IN, State.BOUND):
        await client.authenticate("romeo")
    if state is State.BOUND:
        await client.bind()
    assert client.stream.state is state
    return client


@pytest.mark.server(plugins={"register": {"mode": "open"}})
@pytest.mark.parametrize("state", [state for state in State if state is not State.CLOSED])
@pytest.mark.parametrize("what", SENT)
async def test_each_state_allows_what_the_table_says(server: Harness, state: State, what: str) -> None:
    client = await reach(server, state)
    server.server.tls_context = lambda domain: None  # type: ignore[method-assign, assignment, return-value]
    client.send(SENT[what])
    answer = ANSWERS[state].get(what)
    if answer is None:
        assert await client.stream_error() == REFUSED[state][SENT[what].startswith("<iq")]
        assert client.stream.state is State.CLOSED
    else:
        assert (await client.receive()).tag.rpartition("}")[2] == answer
        assert not client.closed


def test_every_way_ends_closed_and_no_state_is_reached_twice() -> None:
    for state, rules in TABLE.items():
        assert state not in rules.next.values()
        assert (state is State.CLOSED) == (not rules.next)
        if rules.next:
            assert rules.next[Event.ENDED] is State.CLOSED
    order = [State.CLEAR, State.STRANGER, State.SIGNED_IN, State.BOUND, State.CLOSED]
    for before, after in pairwise(order):
        assert after in TABLE[before].next.values()


def test_nothing_but_tls_in_the_clear_and_no_stanza_before_binding() -> None:
    clear = TABLE[State.CLEAR]
    assert (set(clear.elements.values()), clear.offers) == ({Step.START_TLS}, (Step.START_TLS,))
    assert not clear.plugins and not clear.requests
    requests = {step for state, rules in TABLE.items() if state is not State.BOUND for step in rules.requests.values()}
    assert requests == {Step.REGISTER, Step.BIND}


async def test_a_step_that_is_not_in_the_table_is_a_bug(server: Harness) -> None:
    client = await reach(server, State.STRANGER)
    with pytest.raises(LocalError):
        client.stream._move(Event.BOUND)
