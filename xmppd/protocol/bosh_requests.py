"""The requests and answers of one BOSH session (XEP-0124 sections 7 to 15). Sans-I/O.

Requests are taken in the order of their rids, whatever order they come in; answers go out in that order, and are kept
until the client is known to have them. Two questions must not be mixed up:

- Was something *answered*? Then it is in an answer, which the client gets again if it repeats the request.
- Does the client *have* it (`confirmed`)? Only what a later request proves counts: its `ack`, or its rid, when it could
  not have been sent without the answer (the client may have no more than so many requests open). An answer that was
  written to a connection proves nothing: the connection may have been dead, or a proxy's.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from hmac import compare_digest
from typing import Final

from .bosh import MOST_RID, RECOVERABLE, BoshError, RequestBody, written_body
from .bosh_terms import MOST_PAUSE, POLLING, Answer, Carrier, Request, Terms, refuse

REPEATS: Final = 30
"""So often one request may be repeated (section 14.3)."""
UNACKNOWLEDGED: Final = 6
"""So many answers are kept for a client that acknowledges them, and does not."""
ANSWER_SIZE: Final = 64 << 10
"""Bytes of payload in one answer, or one element that is larger."""
PROMPT: Final = 1.0
"""Seconds until a client is asked, by an empty answer, for the request that proves what it has."""
UNHANDLED: Final = 64 << 10
"""So many bytes of requests may wait to be handled, and yet be answered with what there is for the client."""
REQUEST_SIZE: Final = 1024
"""Bytes that a request takes beside its payload, with its attributes."""
BUSY: Final = 10.0
"""Seconds that a request waits for the answer to what it holds, even if its client does not want to wait (sign-in)."""


class Requests:
    """The requests of one session, that which creates it (`opening`) first. `take`: called with each of them in its
    order. Raises BoshError."""

    def __init__(self, opening: RequestBody, now: float, take: Callable[[Request], None]) -> None:
        self.terms = Terms.of(opening)
        self.taken = opening.rid - 1
        """All requests up to this rid have come."""
        self.confirmed = self.taken
        """The client has the answers up to this rid."""
        self.open: deque[Request] = deque()
        """Taken and not answered, in order."""
        self.answers: OrderedDict[int, Answer] = OrderedDict()
        """By rid, rising."""
        self.answers_size = 0
        self.out: deque[bytes] = deque()
        """Elements that wait for a request."""
        self.out_size = 0
        self.contact = now
        """When the client was last heard, or answered."""
        self.pause: float | None = None
        """Seconds of inactivity that the client has asked for."""
        self.awaited = False
        """Somebody wants to know when the client has all that was written."""
        self.busy = False
        """What was handed over is worked on, and its answer belongs into the request that brought it."""
        self.congested = False
        """The client is not heard until it takes what waits for it."""
        self.unhandled: deque[Request] = deque()
        """Taken, and still with their bodies: the stream is not read now."""
        self.first_attributes: Mapping[str, str] = {}
        """Of the session creation response."""
        self.over = False
        self.untold: str | None = None
        """The condition ("": none, the client wanted it so) of a session that is over, until it is told."""
        self._take = take
        self._early: dict[int, Request] = {}
        self._expected_key = ""
        self._last_came = -POLLING
        self._last_empty = False
        self._carrying = 0
        """The last rid whose answer has a payload, and when it was answered."""
        self._carried_at = 0.0

    # ---- what is known of the client

    @property
    def has_all(self) -> bool:
        """The client has all that was written."""
        return not self.out and self.confirmed >= self._carrying

    @property
    def waiting(self) -> list[Request]:
        """All that are not answered, in order."""
        return [*self.open, *(self._early[rid] for rid in sorted(self._early))]

    @property
    def incoming(self) -> int:
        """Bytes of requests that are not handled."""
        return sum(REQUEST_SIZE + len(each.body.payload) for each in self.unhandled if each.body is not None)

    @property
    def early(self) -> int:
        """Bytes of requests that wait for one which has not come."""
        return sum(REQUEST_SIZE + len(each.body.payload) for each in self._early.values() if each.body is not None)

    @property
    def held(self) -> bool:
        """There is a request that can be answered, or will be."""
        return any(request.carrier is not None for request in (*self.open, *self._early.values()))

    def inactive(self, now: float) -> bool:
        """The client has left (section 10)."""
        allowed = self.pause if self.pause is not None else self.terms.inactivity
        return not self.held and now - self.contact > allowed

    def lost(self, carrier: Carrier, now: float) -> None:
        """The connection of a request is gone. The request stays: its client may repeat it."""
        for request in (*self.open, *self._early.values()):
            if request.carrier is carrier:
                request.carrier = None
                self.contact = now

    # ---- requests

    def receive(self, body: RequestBody, carrier: Carrier, now: float) -> None:
        """Raises BoshError: the session is to end."""
        rid = body.rid
        if (answer := self.answers.get(rid)) is not None:
            self._count_repeat(answer, body)
            self.contact = now
            carrier.answer(answer.body)
            return
        for request in self.waiting:
            if request.rid == rid:
                self._count_repeat(request, body)
                former, request.carrier = request.carrier, carrier
                self.contact = now
                if former is not None:
                    former.answer(RECOVERABLE)
                return
        if self.over and self.untold is None:
            raise BoshError("item-not-found", "the session is over")
        pause = body.pause
        last = body.terminates or pause is not None
        if not self.taken < rid <= min(self.taken + self.terms.requests + last, MOST_RID):
            raise BoshError("item-not-found", f"rid {rid - self.taken:+d}")
        if pause is not None and pause > MOST_PAUSE:
            raise BoshError("policy-violation", "a pause that is too long")
        self._early[rid] = Request(rid, body, carrier, now, body.key, body.empty, last, pause is not None)
        self.contact = now
        if len(self.open) + len(self._early) > self.terms.requests + last:
            raise BoshError("policy-violation", "too many requests at once")
        while (found := self._early.pop(self.taken + 1, None)) is not None:
            self._take_next(found, now)

    def _count_repeat(self, former: Request | Answer, body: RequestBody) -> None:
        """A copy has the key of the first one: who has seen the rid only does not get the answer."""
        former.repeats += 1
        if former.repeats > REPEATS:
            raise BoshError("policy-violation", "a request was repeated too often")
        if not compare_digest(former.key.encode(), body.key.encode()):
            raise BoshError("item-not-found", "another key")

    def _take_next(self, request: Request, now: float) -> None:
        body = request.body
        assert body is not None
        self._check_key(body)
        self._check_pace(request)
        self.taken = request.rid
        self.pause = None
        self._confirm(request, body, now)
        if request.pauses:
            self.pause = float(body.pause or 0)
        self.open.append(request)
        if self.over:
            request.body = None
        else:
            self._take(request)

    def _check_key(self, body: RequestBody) -> None:
        """Section 15.4."""
        expected = self._expected_key
        if expected and not body.creates:
            digest = hashlib.sha1(body.key.encode(), usedforsecurity=False).hexdigest()
            if not body.key or not compare_digest(digest.encode(), expected.encode()):
                raise BoshError("item-not-found", "not the next key")
        if body.newkey:
            self._expected_key = body.newkey.lower()
        elif expected:
            self._expected_key = body.key.lower()

    def _check_pace(self, request: Request) -> None:
        """Who asks for what there is, and asks again, does so too often (sections 11 and 12)."""
        soon = request.came - self._last_came < POLLING and request.empty and not request.last
        if soon and not self.terms.polls:
            if len(self.open) + 1 >= self.terms.requests:
                raise BoshError("policy-violation", "empty requests that are too frequent")
        elif soon and self._last_empty:
            former = self.answers.get(request.rid - 1)
            if former is None or former.empty:
                raise BoshError("policy-violation", "polls too often")
        self._last_came, self._last_empty = request.came, request.empty

    def _confirm(self, request: Request, body: RequestBody, now: float) -> None:
        """What this request proves that its client has."""
        rid = request.rid
        if self.terms.acks and not body.creates:
            ack = body.number("ack")
            proven = rid - 1 if ack is None else min(ack, rid - 1)
            missing = self.answers.get(proven + 1)
            if missing is not None and now - missing.at > PROMPT:
                request.report = (proven + 1, missing.at)
        else:
            proven = rid - self.terms.requests - request.last
        answered = next(reversed(self.answers), self.confirmed)
        self.confirmed = max(self.confirmed, min(proven, answered))
        self._forget()

    def _forget(self) -> None:
        """Section 14.3: keep as many answers as the client may ask for again; with a pause that is one more, however
        many pauses there were."""
        answers, terms = self.answers, self.terms
        kept = UNACKNOWLEDGED if terms.acks else terms.requests
        number = sum(not answer.pauses for answer in answers.values())
        while answers:
            rid, oldest = next(iter(answers.items()))
            many = number > kept or len(answers) > kept + 1
            if not (many or (terms.acks and rid <= self.confirmed)):
                break
            del answers[rid]
            self.answers_size -= len(oldest.body)
            number -= not oldest.pauses

    # ---- answers

    def put(self, element: bytes) -> None:
        """An element for the client."""
        self.out.append(element)
        self.out_size += len(element)

    def answer(self, now: float) -> None:
        """Answer the requests whose time has come."""
        while self.open and self._due(self.open[0], now):
            request = self.open[0]
            self._answer(request, b"" if request.pauses else self._next_payload(), now)
        if self.untold is not None and self.open:
            self._tell_end(self.untold, now)

    def _due(self, request: Request, now: float) -> bool:
        if self.over:
            return False  # the end is told
        if request.body is not None:  # not handled yet
            return bool(self.out) and (self.congested or self.incoming <= UNHANDLED)
        if self.busy and not self.out:
            return now - request.came > max(self.terms.wait, BUSY)
        if request.carrier is None and len(self.open) <= self.terms.hold:
            return False  # what it got now would wait for its repetition; so it can wait here
        if self.out or request.report is not None or self.pause is not None:
            return True
        if len(self.open) > self.terms.hold or now - request.came >= self.terms.wait:
            return True
        unproven = self.awaited and self.confirmed < self._carrying < request.rid
        return unproven and now - self._carried_at >= PROMPT

    def _next_payload(self, most: int = ANSWER_SIZE) -> bytes:
        out, size = self.out, 0
        pieces: list[bytes] = []
        while out and (not pieces or size + len(out[0]) <= most):
            piece = out.popleft()
            pieces.append(piece)
            size += len(piece)
        self.out_size -= size
        return b"".join(pieces)

    def _answer(self, request: Request, payload: bytes, now: float, **attributes: str) -> None:
        assert request is self.open[0]
        self.open.popleft()
        rid = request.rid
        if self.terms.acks and self.taken > rid and not self.first_attributes:
            attributes["ack"] = str(self.taken)  # section 9.1
        if request.report is not None:
            attributes["report"] = str(request.report[0])
            attributes["time"] = f"{(now - request.report[1]) * 1000:.0f}"
        attributes = {**self.first_attributes, **attributes}
        self.first_attributes = {}
        body = written_body(payload, **attributes)
        self.answers[rid] = Answer(body, request.key, now, not payload, request.pauses, request.repeats)
        self.answers_size += len(body)
        if payload:
            self._carrying, self._carried_at = rid, now
        self._forget()
        self.contact = now
        carrier, request.carrier = request.carrier, None
        if carrier is not None:
            carrier.answer(body)

    # ---- the end

    def end(self, condition: str, now: float) -> None:
        """The session is over: tell it the oldest request, behind what waits (section 13); if there is none, the next
        one. `condition`: "" where the client has ended it."""
        self.over = True
        self.untold = condition
        self.answer(now)

    def _tell_end(self, condition: str, now: float) -> None:
        self.untold = None
        self.open.extend(self._early[rid] for rid in sorted(self._early))  # what is missing before them comes no more
        self._early.clear()
        if condition:
            self.first_attributes = {}  # no session was made
        payload = self._next_payload(1 << 62)
        self._answer(self.open[0], payload, now, type="terminate", condition=condition)
        while self.open:
            self._answer(self.open[0], b"", now)

    def fail(self, error: BoshError, cause: Carrier | None, now: float) -> None:
        """The session is over because of a request, that of `cause`. Nothing is kept."""
        self.over, self.untold = True, None
        for request in self.waiting:
            carrier, request.carrier = request.carrier, None
            if carrier is not None:
                refuse(carrier, error if carrier is cause else BoshError("other-request"), self.legacy)
        self.clear()

    def drop(self) -> None:
        """Keep the last element only: the client has not taken the others in time."""
        last = list(self.out)[-1:]
        self.out.clear()
        self.out.extend(last)
        self.out_size = sum(map(len, last))
        self.answers.clear()
        self.answers_size = 0

    def clear(self) -> None:
        """Keep nothing: nobody is to be answered any more."""
        for each in (self.open, self.unhandled, self._early, self.out, self.answers):
            each.clear()
        self.out_size = self.answers_size = 0

    @property
    def legacy(self) -> bool:
        """Its client knows HTTP errors only (section 17.1)."""
        return self.terms.version is None
