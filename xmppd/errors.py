"""What can go wrong on the wire: stanza errors (RFC 6120 section 8.3) and stream errors (section 4.9)."""

from __future__ import annotations

from typing import ClassVar

STANZAS_NS = "urn:ietf:params:xml:ns:xmpp-stanzas"
STREAMS_NS = "urn:ietf:params:xml:ns:xmpp-streams"


class StanzaError(Exception):
    """Raised anywhere on the path of a stanza; one place turns it into the error reply.

    `extra` is an application-specific condition as (namespace, name) or (namespace, name, attributes), or serialised.
    `text` is for people and must hold nothing internal.
    """

    condition: ClassVar[str] = "undefined-condition"
    type: str = "cancel"
    code: ClassVar[str] = ""
    """The number that it had before it had a name (XEP-0086), for clients that know no other; "" for none."""

    def __init__(
        self,
        text: str = "",
        extra: tuple[str, str] | tuple[str, str, dict[str, str]] | bytes | None = None,
        type: str | None = None,
        by: str = "",
    ) -> None:
        super().__init__(text or self.condition)
        self.text = text
        self.extra = extra
        self.by = by
        self.echo: tuple[str, bytes] | None = None
        """What of the refused stanza goes back, in front of the error: tag ("namespace|name") and element."""
        if type is not None:
            self.type = type


class BadRequest(StanzaError):
    condition, type = "bad-request", "modify"


class Conflict(StanzaError):
    condition, type = "conflict", "cancel"


class FeatureNotImplemented(StanzaError):
    condition, type = "feature-not-implemented", "cancel"


class Forbidden(StanzaError):
    condition, type = "forbidden", "auth"


class Gone(StanzaError):
    condition, type = "gone", "cancel"


class InternalServerError(StanzaError):
    condition, type = "internal-server-error", "cancel"


class ItemNotFound(StanzaError):
    condition, type = "item-not-found", "cancel"


class JidMalformed(StanzaError):
    condition, type = "jid-malformed", "modify"


class NotAcceptable(StanzaError):
    condition, type = "not-acceptable", "modify"


class NotAllowed(StanzaError):
    condition, type = "not-allowed", "cancel"


class NotAuthorized(StanzaError):
    condition, type = "not-authorized", "auth"


class PolicyViolation(StanzaError):
    condition, type = "policy-violation", "modify"


class RecipientUnavailable(StanzaError):
    condition, type = "recipient-unavailable", "wait"


class RegistrationRequired(StanzaError):
    condition, type = "registration-required", "auth"


class RemoteServerNotFound(StanzaError):
    condition, type = "remote-server-not-found", "cancel"


class RemoteServerTimeout(StanzaError):
    condition, type = "remote-server-timeout", "wait"


class ResourceConstraint(StanzaError):
    condition, type = "resource-constraint", "wait"


class NotNow(ResourceConstraint):
    """It could not be decided: the store does not answer, or too much waits. Who keeps the stanza sends it again, which
    is of no use for a ResourceConstraint by somebody's rules (a list that is full)."""


class ServiceUnavailable(StanzaError):
    condition, type = "service-unavailable", "cancel"


class SubscriptionRequired(StanzaError):
    condition, type = "subscription-required", "auth"


class UndefinedCondition(StanzaError):
    condition, type = "undefined-condition", "cancel"


class UnexpectedRequest(StanzaError):
    condition, type = "unexpected-request", "wait"


class StreamError(Exception):
    """Ends a stream with `condition` (RFC 6120 section 4.9.3). `extra` as in StanzaError."""

    def __init__(
        self,
        condition: str,
        text: str = "",
        extra: tuple[str, str] | tuple[str, str, dict[str, str]] | None = None,
    ) -> None:
        super().__init__(f"{condition}: {text}" if text else condition)
        self.condition = condition
        self.text = text
        self.extra = extra


class LocalError(Exception):
    """Our own misuse of an object: a bug, never shown to a peer."""


class StorageUnavailable(Exception):
    """The store cannot take a write or answer a read now; nothing was written."""


class MalformedJid(ValueError):
    """Not an address by RFC 7622."""
