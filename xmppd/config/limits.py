"""The options under `limits:`: what one peer may cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .option import option
from .problem import Where
from .units import Duration, Size


@dataclass(frozen=True)
class StreamLimits:
    """What one first-level element of a stream may hold, counted while parsing (XEP-0205 section 4.5)."""

    size: Size = option(
        Size("256 KiB"),
        "Bytes of one stanza. After signing in, one of up to four times that is refused; a larger one ends the stream.",
        low=1024,
        high=1 << 26,
    )
    elements: int = option(4096, "XML elements in one stanza.", low=8, high=1_000_000)
    depth: int = option(128, "Levels of XML elements in one stanza.", low=4, high=500)
    attributes: int = option(128, "Attributes of one XML element.", low=8, high=1024)


@dataclass(frozen=True)
class ShapingLimits:
    """How much may come in per second: two buckets. Beyond them the connection is not read until there is room."""

    bytes: Size = option(Size("512 KiB"), "Bytes per second; 0: no limit.", low=0, high=1 << 40)
    bytes_burst: Size = option(Size("2 MiB"), "Bytes that may come at once.", low=0, high=1 << 40)
    stanzas: int = option(200, "Stanzas per second; 0: no limit.", low=0, high=1_000_000)
    stanzas_burst: int = option(1000, "Stanzas that may come at once.", low=0, high=1_000_000)

    def check(self) -> Iterable[tuple[Where, str]]:
        if 0 < self.bytes < 1024:
            yield "bytes", "0 for no limit, or at least 1 KiB"


@dataclass(frozen=True)
class SignInLimits:
    """Failed sign-ins make further ones wait: from that address, never for the account elsewhere."""

    account_failures: int = option(
        5, "Failed sign-ins to one account from one address before it must wait there; 0: never.", low=0, high=1000
    )
    address_failures: int = option(
        50,
        "Failed sign-ins from one address (IPv6: one /64) before accounts that have not yet signed in from there must "
        "wait; many people can share one. 0: never.",
        low=0,
        high=100_000,
    )
    first_wait: Duration = option(
        Duration("1 second"), "The first wait; each further failure doubles it.", low=0, high=3600
    )
    longest_wait: Duration = option(Duration("5 minutes"), "The longest wait.", low=0, high=86_400)
    forget: Duration = option(
        Duration("1 hour"), "Failures are forgotten when none came for so long.", low=1, high=604_800
    )


@dataclass(frozen=True)
class HttpLimits:
    """What a request over HTTP may cost."""

    header_size: Size = option(
        Size("16 KiB"), "Bytes of the first line and the header of a request.", low=1024, high=1 << 20
    )
    body_time: Duration = option(
        Duration("30 seconds"),
        "For the body of a request, and a second more for each KiB of it; then the answer is 408.",
        low=1,
        high=3600,
    )
    keep_alive: Duration = option(
        Duration("75 seconds"), "A connection is closed when no request came for so long.", low=1, high=3600
    )


@dataclass(frozen=True)
class LimitsConfig:
    """What one peer may cost."""

    before_sign_in: StreamLimits = option(
        StreamLimits(Size("8 KiB"), 32, 8, 32), "What a stranger may send before signing in."
    )
    after_sign_in: StreamLimits = option(StreamLimits(), "What a client may send after signing in.")
    handshake_time: Duration = option(
        Duration("30 seconds"),
        "For the TLS handshake; some clients ask a person about the certificate inside it.",
        low=1,
        high=600,
    )
    handshakes: int = option(
        2000,
        "TLS handshakes under way at once, of all listeners, some 55 KiB each; one more ends the oldest.",
        low=10,
        high=1_000_000,
    )
    header_time: Duration = option(
        Duration("10 seconds"),
        "From the connection, or the end of the TLS handshake, to the stream header, or that of an HTTP request.",
        low=1,
        high=600,
    )
    sign_in_time: Duration = option(
        Duration("30 seconds"),
        "From the connection, or the end of the TLS handshake, to the end of signing in.",
        low=1,
        high=3600,
    )
    registration_time: Duration = option(
        Duration("10 minutes"),
        "The same for who has asked for the form for registration, or is asked for the code of a second factor: people "
        "read, think of a password, wait for a code.",
        low=1,
        high=3600,
    )
    close_time: Duration = option(
        Duration("5 seconds"),
        "For a peer to take our last words and to close its side; then the connection is cut.",
        low=1,
        high=600,
    )
    sasl_attempts: int = option(
        5, "Failed sign-ins on one connection before it is closed (RFC 6120 section 6.4.5).", low=2, high=20
    )
    connections_per_address: int = option(
        200, "Connections from one IP address; many people can share one.", low=1, high=1_000_000
    )
    sessions_per_account: int = option(
        50, "Sessions of one account, those that wait for resumption included.", low=1, high=10_000
    )
    idle_ping: Duration = option(
        Duration("5 minutes"),
        "A connection that was silent for so long is asked for a sign of life.",
        low=5,
        high=86_400,
    )
    ping_timeout: Duration = option(
        Duration("1 minute"),
        "The connection is taken for dead when no answer came for so long.",
        low=1,
        high=3600,
    )
    queue: int = option(
        500,
        "Stanzas held in memory for one session until its client acknowledges them (XEP-0198).",
        low=10,
        high=100_000,
    )
    queue_size: Size = option(
        Size("2 MiB"),
        "Their bytes. When the queue is full, messages wait in the archive; as much again of what is in no archive of "
        "the account waits in memory, and with more the session ends.",
        low=64 << 10,
        high=1 << 30,
    )
    account_memory: Size = option(
        Size("16 MiB"),
        "Bytes that may wait in memory for all sessions of one account. Towards it messages wait in the archive; at it "
        "the sessions end that hold most.",
        low=256 << 10,
        high=1 << 36,
    )
    memory: Size = option(
        Size("512 MiB"),
        "The same for the whole process; at it the sessions end that hold most, of the accounts that hold most.",
        low=1 << 20,
        high=1 << 42,
    )
    incoming_size: Size = option(
        Size("1 MiB"),
        "Bytes of one stream that are read and not yet handled (a slow answer, a commit); with more the stream is not "
        "read until they are.",
        low=64 << 10,
        high=1 << 30,
    )
    presence_size: Size = option(
        Size("32 KiB"),
        "Bytes in one presence, which is kept for as long as its session, and once more in each room; a larger one is "
        "refused.",
        low=4096,
        high=1 << 26,
    )
    ask_every: int = option(
        20, "An acknowledgement is asked for at the latest after so many stanzas.", low=1, high=10_000
    )
    resume_time: Duration = option(
        Duration("1 hour"),
        "How long a lost session can be resumed (XEP-0198 section 5).",
        low=0,
        high=604_800,
    )
    answer_time: Duration = option(
        Duration("30 seconds"),
        "A client without XEP-0198 is asked by a ping whether it has its messages. If it is alive and has not answered "
        "for so long, it counts as one that never does, and the end of the write as its answer. 0: none is asked.",
        low=0,
        high=3600,
    )
    stop_time: Duration = option(
        Duration("2 seconds"),
        "At a stop, all clients together have so long to say what they have been sent (those whose session cannot be "
        "resumed), and again so long to take what was written to them. Nobody who is silent takes longer.",
        low=0,
        high=60,
    )
    even_answers: Duration = option(
        Duration("20 ms"),
        "An answer about another's account that says nothing, the challenge of SCRAM and the refusal of a password go "
        "out at a tick, one every so long, so that strangers cannot tell by the time whether there is such an account. "
        "0: at once.",
        low=0,
        high=1,
    )
    per_connection: ShapingLimits = option(ShapingLimits(), "What one connection may send per second.")
    per_account: ShapingLimits = option(
        ShapingLimits(Size("1 MiB"), Size("4 MiB"), 400, 2000),
        "What all connections of one account may send per second.",
    )
    sign_in: SignInLimits = option(SignInLimits(), "What failed sign-ins lead to.")
    http: HttpLimits = option(HttpLimits(), "What a request over HTTP may cost.")
    name_size: Size = option(
        Size("512"),
        "The longest name of an XML element or attribute, its namespace included. A stanza with a longer one is "
        "answered with an error.",
        low=512,
        high=65_536,
    )

    def check(self) -> Iterable[tuple[Where, str]]:
        if self.after_sign_in.size < 10_000:
            yield ("after_sign_in", "size"), "at least 10000 bytes (RFC 6120 section 13.12)"
        if self.header_time > self.sign_in_time:
            yield "header_time", f"longer than sign_in_time ({self.sign_in_time}), of which it is a part"
        if self.queue_size < self.after_sign_in.size:
            yield "queue_size", f"must hold one stanza of after_sign_in.size ({self.after_sign_in.size} bytes)"
        if self.account_memory < self.queue_size:
            yield "account_memory", f"less than the queue_size of one session ({self.queue_size} bytes)"
        if self.memory < self.account_memory:
            yield "memory", f"less than the account_memory of one account ({self.account_memory} bytes)"
        if self.ask_every >= self.queue:
            yield (
                "ask_every",
                f"must be below queue ({self.queue}), which would be full before anything is asked",
            )
