"""Accounts that strangers make: by registration before sign-in (XEP-0077 section 3.1), with an invitation that they
show there (XEP-0445), or on a page that the invitation leads to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, NoReturn

from xmppd.contracts.accounts import TAKEN
from xmppd.contracts.authentication import NegotiatingStream
from xmppd.contracts.identity import AUTHENTICATORS
from xmppd.contracts.registration import (
    INVALID,
    INVITATIONS,
    PREAUTH_NS,
    REGISTRATION_STEP,
    Admission,
    Invitations,
    RegistrationStep,
)
from xmppd.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    ItemNotFound,
    JidMalformed,
    MalformedJid,
    NotAcceptable,
    ResourceConstraint,
    ServiceUnavailable,
    StanzaError,
    UnexpectedRequest,
)
from xmppd.plugin import JID, E, Element, Host, Stanza
from xmppd.storage.api import Write
from xmppd.window_limit import AddressLimit
from xmppd.xep.forms import Field, Submitted, read_form
from xmppd.xep.forms import form as make_form
from xmppd.xml import find, text_of, to_bytes

from . import captcha
from .approval import WAITS, ApprovalQueue
from .captcha import Challenge
from .names import twins, well_formed
from .options import CLOSED, INVITATION, Config

REASON: Final = 1000
"""Characters."""
ANSWERED_WITHIN: Final = 600.0
"""Seconds."""
DRAWN_AT_ONCE: Final = 50
"""Pictures: who waits for the last of them waits a few seconds."""
NS: Final = "jabber:iq:register"
FEATURE_NS: Final = "http://jabber.org/features/iq-register"
TOKEN_FEATURES: Final = ("urn:xmpp:ibr-token:0", "urn:xmpp:invite")
"""Streams where an invitation can be shown announce both: the second one is that of XEP-0401 before version 0.5, and
Conversations and Siskin look for nothing else."""


@dataclass(slots=True)
class Visit:
    """What is remembered of a stream of a stranger (`NegotiatingStream.registration`)."""

    admission: Admission | None = None
    challenge: Challenge | None = None
    filled: Submitted | None = None
    """The form that began a step, so that the second one need not say the same again."""


class Strangers:
    """Answers them. `config` is replaced when the configuration is read again. Raises LocalError for options that
    cannot be used."""

    def __init__(self, host: Host, config: Config) -> None:
        self.host = host
        self.config = config
        for each in config.captcha_questions:
            captcha.read_question(each)
        clock, interval = host.clock, float(config.interval)
        self.made = AddressLimit(clock, config.per_address, interval)
        self.tried = AddressLimit(clock, config.attempts, interval)
        self.asked = AddressLimit(clock, config.attempts, interval)
        """Pictures that were drawn."""
        self._drawing = host.background.workers(1)
        self._drawn = 0
        """Pictures that are being drawn, or wait for that."""
        self.queue = ApprovalQueue(host)

    def reconfigured(self, config: Config) -> None:
        self.config = config
        self.made.limit, self.tried.limit, self.asked.limit = config.per_address, config.attempts, config.attempts
        for rate in (self.made, self.tried, self.asked):
            rate.interval = float(config.interval)

    @property
    def invitations(self) -> Invitations | None:
        """None: nobody can be invited."""
        return self.host.find(INVITATIONS) if not self.closed else None

    @property
    def elsewhere(self) -> bool:
        """Who signs in here is known by a source outside, and nobody has a password here."""
        return any(each.exclusive for each in self.host.gather(AUTHENTICATORS, self.host.jid))

    @property
    def closed(self) -> bool:
        return self.config.mode == CLOSED or self.elsewhere

    @property
    def open(self) -> bool:
        return not self.closed and (self.config.mode != INVITATION or self.invitations is not None)

    # ---- in-band

    async def answer(self, stanza: Stanza, stream: NegotiatingStream) -> Stanza:
        """See contracts.registration. The core calls it on a safe stream only, and only if `open`."""
        if stanza.fault:
            raise JidMalformed()
        if stanza.to is not None and stanza.to != self.host.jid:
            raise ServiceUnavailable()
        payload = stanza.payload
        if payload is None or not stanza.id or stanza.type not in ("get", "set"):
            raise BadRequest()
        visit = stream.registration
        if not isinstance(visit, Visit):
            visit = Visit()
        if payload.tag == f"{{{PREAUTH_NS}}}preauth":
            if stanza.type != "set":
                raise BadRequest()
            visit.admission = await self._admit(str(payload.get("token", "")), stream.peer)
            stream.registration = visit
            return stanza.result()
        if self.config.mode == INVITATION and visit.admission is None:
            raise Forbidden("registration needs an invitation")
        stream.registration = visit  # from here on the stream has more time (`limits.registration_time`)
        if stanza.type == "get":
            return stanza.result(await self._form(visit, stanza.id, stream.peer))
        if find(payload, NS, "remove") is not None:
            raise UnexpectedRequest("sign in first")
        await self._filled(payload, visit, stream.peer)
        return stanza.result()

    async def _filled(self, payload: Element, visit: Visit, peer: str) -> None:
        """Raises StanzaError, StorageUnavailable."""
        form = read_form(payload)
        if form is not None and form.type != "submit":
            raise BadRequest("the form is not submitted")
        admission, visit.admission = visit.admission, None  # what comes while this is under way comes without it
        challenge, visit.challenge = visit.challenge, None
        if admission is None:
            self.tried.count(peer)
            form = form or _as_form(payload)
            step = self._step(form)
            if step is not None and step.has_proof(form):
                if visit.filled is not None:
                    form = replace(form, values={**visit.filled.values, **form.values})
                await self._prove(step, form, peer)
                visit.filled = None
                return
            if self._asks:
                captcha.check(challenge, form, self.host.clock.monotonic())
            if step is not None:
                await self._begin(step, visit, form, peer)
            jid = self._named(form.text("username") or "", form.text("password") or "")
            await self._register_stranger(jid, form, peer, ())
            return
        if form is None:
            form = _as_form(payload)
        try:
            await self.register(form.text("username") or "", form.text("password") or "", peer, admission)
        except BaseException:
            visit.admission = admission
            raise

    # ---- a step that another plugin brings

    def _step(self, form: Submitted | None = None) -> RegistrationStep | None:
        """None: nothing is to be proven."""
        step = self.host.find(REGISTRATION_STEP)
        return step if step is not None and step.applies(form) else None

    async def _begin(self, step: RegistrationStep, visit: Visit, form: Submitted, peer: str) -> NoReturn:
        """Have the proof sent, and ask for it: an error with a form, as XEP-0077 has it in its sections 3.2 and 3.3.
        Raises StanzaError, StorageUnavailable."""
        await self._check_free(self._named(form.text("username") or "", form.text("password") or ""), None)
        text = await step.begin(form, peer)
        visit.filled = form
        x = make_form("form", NS, step.proof_fields(), "Registration", text)
        error = NotAcceptable(text, step.begun)
        error.echo = (f"{NS}|query", to_bytes(E("query", NS, {}, E("instructions", NS, {}, text), x)))
        raise error

    async def _prove(self, step: RegistrationStep, form: Submitted, peer: str) -> None:
        """Raises StanzaError, StorageUnavailable."""
        jid = self._named(form.text("username") or "", form.text("password") or "")
        await step.finish(form, jid, partial(self._register_stranger, jid, form, peer))

    async def _admit(self, token: str, peer: str) -> Admission:
        """XEP-0445 section 4. Raises ItemNotFound, the same for all tokens that do not work; ResourceConstraint."""
        invitations = self.invitations
        self.tried.check(peer)
        try:
            if invitations is None:
                raise ItemNotFound(INVALID)
            return await invitations.admit(token)
        except ItemNotFound:
            self.tried.count(peer)
            raise

    @property
    def _asks(self) -> bool:
        """Strangers are asked whether they are people."""
        return self.config.captcha or bool(self.config.captcha_questions)

    async def _form(self, visit: Visit, id: str, peer: str) -> Element:
        """A form (section 4), which is all that Dino knows; and two plain fields (section 3.1.1) where there is no more
        to say, which is all that others know. Raises ResourceConstraint."""
        instructions = E("instructions", NS, {}, self.config.instructions)
        step = self.host.find(REGISTRATION_STEP)
        more = step.fields() if step is not None else ()
        if visit.admission is not None or not (self._asks or self.config.approval or more):
            name = visit.admission.username if visit.admission is not None else ""
            x = make_form("form", NS, _account_fields(name), "Registration", self.config.instructions)
            return E("query", NS, {}, instructions, E("username", NS, {}, name or None), E("password", NS), x)
        fields, data = await self._question(visit, id, peer) if self._asks else ([], None)
        fields.extend(each.element() for each in (*_account_fields(), *more))
        if self.config.approval:
            fields.append(Field("reason", "text-multi", "Why you want an account, for who decides").element())
        x = make_form("form", NS, (), "Registration", self.config.instructions)
        x.extend(fields)
        return E("query", NS, {}, instructions, x, data)

    async def _question(self, visit: Visit, id: str, peer: str) -> tuple[list[Element], Element | None]:
        """A new one for the stream, in place of the last. Raises ResourceConstraint."""
        if self._drawn >= DRAWN_AT_ONCE:
            raise ResourceConstraint("too many ask for a picture: try again in a minute")
        self.asked.count(peer)
        code = captcha.new_code() if self.config.captcha else ""
        self._drawn += 1
        try:
            picture = await self._drawing.run(captcha.drawn, code) if code else b""
        finally:
            self._drawn -= 1
        until = self.host.clock.monotonic() + ANSWERED_WITHIN
        visit.challenge, asked = captcha.make(until, code, self.config.captcha_questions)
        fields, data = captcha.elements(asked, picture)
        hidden = (("challenge", visit.challenge.id), ("sid", id))
        return [*(Field(var, "hidden", values=(value,)).element() for var, value in hidden), *fields], data

    # ---- an account

    async def _register_stranger(self, jid: JID, form: Submitted, peer: str, writes: Sequence[Write]) -> None:
        """Without an invitation. `writes`: committed with the account. Raises StanzaError, StorageUnavailable."""
        password = form.text("password") or ""
        await self._check_free(jid, None)
        self.made.count(peer)  # before it is there: many may come at once
        try:
            if self.config.approval:
                reason = "\n".join(form.values.get("reason", ()))[:REASON]
                create = partial(self._create, jid, password, writes, disabled=WAITS)
                await self.queue.add(jid, reason, self.config.waiting, create)
            else:
                await self._create(jid, password, writes, ())
        except BaseException:
            self.made.uncount(peer)
            raise

    async def register(self, name: str, password: str, peer: str, admission: Admission) -> JID:
        """Make an account for who has an invitation. Raises StanzaError, StorageUnavailable."""
        self.tried.check(peer)  # a whole class may come from one address
        invitations = self.invitations
        try:
            if invitations is None:
                raise ItemNotFound(INVALID)
            jid = self._named(name, password)
            await self._check_free(jid, admission)
            await invitations.redeem(admission, jid, partial(self._create, jid, password, ()))
        except StanzaError:
            self.tried.count(peer)
            raise
        return jid

    async def _create(
        self, jid: JID, password: str, writes: Sequence[Write], more: Sequence[Write], disabled: str = ""
    ) -> None:
        await self.host.server.accounts.create(jid, password, stranger=True, writes=(*writes, *more), disabled=disabled)

    def _named(self, name: str, password: str) -> JID:
        """Without a look at what is stored. Raises NotAcceptable."""
        if not name or not password:
            raise NotAcceptable("a name and a password are required")
        try:
            jid = JID.of(name, self.host.domain)
        except MalformedJid:
            raise NotAcceptable("not a name") from None
        self.check_password(jid, password)
        return jid

    async def _check_free(self, jid: JID, admission: Admission | None) -> None:
        """Raises NotAcceptable, Conflict, StorageUnavailable."""
        chosen = admission.username if admission is not None else ""
        if chosen and jid.local != chosen:
            raise NotAcceptable(f"the invitation is for the name {chosen}")
        if not chosen:  # else who invites has looked at it
            await self._check_name(jid)
        invitations = self.invitations
        if invitations is not None and await invitations.holds(jid, admission):
            raise Conflict(TAKEN)

    async def _check_name(self, jid: JID) -> None:
        accounts = self.host.server.accounts
        if self._refused(jid.local) and not await accounts.exists(jid):
            raise NotAcceptable("this name cannot be taken")
        reserved = accounts.reserved()
        for twin in twins(jid.local):
            other = JID.of(twin, self.host.domain)
            if twin in self.config.reserved or other.bare in reserved or await accounts.exists(other):
                raise Conflict(TAKEN)

    def _refused(self, name: str) -> bool:
        if len(name) < self.config.name_length or name in self.config.reserved:
            return True
        return not well_formed(name, self.config.ascii_names)

    def check_password(self, jid: JID, password: str) -> None:
        """Raises NotAcceptable."""
        if len(password) < self.config.password_length:
            raise NotAcceptable(f"a password has at least {self.config.password_length} characters")
        if password.casefold() == jid.local:
            raise NotAcceptable("the name is no password")


def _account_fields(name: str = "") -> tuple[Field, ...]:
    """`name`: that of an account which an invitation is for."""
    return (
        Field("username", "text-single", "Name", (name,) if name else (), required=True),
        Field("password", "text-private", "Password", required=True),
    )


def _as_form(payload: Element) -> Submitted:
    """What came in the plain fields of XEP-0077 section 3.1."""
    given = {name: text_of(find(payload, NS, name)) for name in ("username", "password", "phone")}
    return Submitted("submit", NS, {name: (text,) for name, text in given.items() if text})
