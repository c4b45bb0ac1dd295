"""The numbers of a running server in the OpenMetrics text format. Nothing is counted here: all is read when asked."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from ..contracts.admin import Result, Scope, operation
from ..contracts.block_lists import BLOCK_LISTS
from ..observe.metrics import SECONDS, Histogram
from ..stanza import NAMES

if TYPE_CHECKING:
    from .runtime import RunningServer

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


class ServerCollector(Collector):
    """Reads the attributes of a server and its store."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server

    def collect(self) -> Iterator[Metric]:
        yield from self._store()
        yield from self._sessions()
        yield from self._counts()
        yield from self._remote()
        yield from self._block_lists()
        yield from self._http()
        yield from self._process()

    def _store(self) -> Iterator[Metric]:
        store = self.server.storage
        counts = store.counts
        rows, size = store.queued()
        yield gauge("xmppd_store_available", "1: the store takes writes; 0: they are refused.", store.available)
        yield gauge("xmppd_store_congested", "1: clients are not read until the store has caught up.", store.congested)
        yield gauge("xmppd_store_outage_seconds", "For how long no commit has succeeded; 0: none fails.", store.outage)
        yield gauge("xmppd_store_queued_rows", "Writes that are not decided yet.", rows)
        yield gauge("xmppd_store_queued_bytes", "Their approximate size.", size)
        yield counter("xmppd_store_commits", "Batches, or parts of them, that were committed.", counts.commits)
        yield counter(
            "xmppd_store_commits_failed", "Commits that failed because the store did not answer.", counts.failed
        )
        yield counter("xmppd_store_writes_refused", "Items that were answered with an error.", counts.refused)
        yield counter("xmppd_store_rows", "Writes that were committed.", counts.rows)
        yield counter("xmppd_messages_stored", "Of them entries in logs: archived, or transient.", counts.entries)
        yield histogram("xmppd_store_commit_seconds", "Time until a commit was on disk.", counts.seconds)

    def _sessions(self) -> Iterator[Metric]:
        server = self.server
        detached = server.session_manager.detached
        attached = {stream.session for stream in server.streams if stream.session is not None} - detached.keys()
        yield gauge("xmppd_connections", "Open connections of clients, signed in or not.", len(server.streams))
        sessions = GaugeMetricFamily("xmppd_sessions", "Sessions, by whether a client is connected.", labels=["state"])
        sessions.add_metric(["attached"], len(attached))
        sessions.add_metric(["detached"], len(detached))
        yield sessions
        everybody = [*attached, *detached]
        behind = sum(not session.channel.live for session in everybody)
        yield gauge("xmppd_sessions_behind", "Sessions for which messages wait in the log.", behind)
        unacknowledged = sum(len(session.channel.queue or ()) for session in everybody)
        yield gauge("xmppd_queued_stanzas", "Stanzas sent and not acknowledged (XEP-0198).", unacknowledged)
        memory = server.memory
        yield gauge("xmppd_waiting_bytes", "Bytes of stanzas that wait in memory for clients.", memory.used)
        yield gauge("xmppd_waiting_bytes_limit", "Their limit (limits.memory).", memory.limit)
        yield gauge("xmppd_incoming_bytes", "Bytes that clients sent and that are not handled yet.", memory.incoming)
        unsent = sum(stream.link.write_buffer_size for stream in server.streams)
        yield gauge("xmppd_unsent_bytes", "Bytes written to connections that the system has not taken.", unsent)
        delivered = server.counts.delivered + sum(session.delivered for session in everybody)
        yield counter("xmppd_stanzas_delivered", "Stanzas sent to clients, or queued for their return.", delivered)

    def _counts(self) -> Iterator[Metric]:
        counts = self.server.counts
        received = CounterMetricFamily("xmppd_stanzas_received", "Stanzas from clients.", labels=["kind"])
        for name, count in zip(NAMES, counts.received, strict=True):
            received.add_metric([name], count)
        yield received
        yield counter("xmppd_sessions_resumed", "Sessions whose client came back (XEP-0198).", counts.resumed)
        sign_ins = CounterMetricFamily("xmppd_sign_ins", "Exchanges of credentials that ended.", labels=["result"])
        sign_ins.add_metric(["ok"], counts.sign_ins)
        sign_ins.add_metric(["failed"], counts.sign_ins_failed)
        yield sign_ins
        yield counter("xmppd_queue_full", "How often a session's queue was full and it fell behind.", counts.lagging)
        yield counter("xmppd_messages_dropped", "Chat states for which a full queue had no room.", counts.dropped)
        yield counter(
            "xmppd_memory_full", "How often limits.memory was used up, so that sessions ended.", counts.memory_full
        )
        yield counter("xmppd_queue_overflow", "Sessions ended because their client does not read.", counts.overflows)

    def _remote(self) -> Iterator[Metric]:
        """Other servers; without a listener for them all is 0."""
        remotes = self.server.remote_domains
        streams = GaugeMetricFamily(
            "xmppd_remote_streams", "Open streams between this server and others.", labels=["direction"]
        )
        incoming = sum(each.proved for each in remotes.incoming) if remotes is not None else 0
        outgoing = sum(each.usable for each in remotes.outgoing) if remotes is not None else 0
        streams.add_metric(["in"], incoming)
        streams.add_metric(["out"], outgoing)
        yield streams
        for name, attribute, doc in (
            ("xmppd_remote_waiting_stanzas", "waiting", "Stanzas that other servers do not have yet."),
            ("xmppd_remote_waiting_bytes", "waiting_bytes", "Bytes in memory that these need."),
            ("xmppd_remote_kept_stanzas", "kept", "Those of them that the store keeps: they outlive a restart."),
        ):
            yield gauge(name, doc, getattr(remotes, attribute) if remotes is not None else 0)
        failures = CounterMetricFamily(
            "xmppd_remote_failures",
            "Streams that could not be opened, or prove a domain, by who opened them.",
            labels=["direction", "reason"],
        )
        for (direction, reason), count in sorted(remotes.failures.counts.items()) if remotes is not None else ():
            failures.add_metric([direction, reason], count)
        yield failures

    def _block_lists(self) -> Iterator[Metric]:
        entries = GaugeMetricFamily(
            "xmppd_block_list_entries", "Entries of the block lists that are followed.", labels=["host", "list"]
        )
        hits = CounterMetricFamily(
            "xmppd_block_list_hits", "How often something was refused because of one.", labels=["host", "list"]
        )
        for host in self.server.hosts.values():
            lists = host.find(BLOCK_LISTS)
            for name, size, count in lists.numbers() if lists is not None else ():
                entries.add_metric([host.domain, name], size)
                hits.add_metric([host.domain, name], count)
        yield entries
        yield hits

    def _http(self) -> Iterator[Metric]:
        http = self.server.http
        counts = http.counts
        yield gauge("xmppd_http_connections", "Open connections that speak HTTP.", len(http.connections))
        answers = CounterMetricFamily(
            "xmppd_http_requests", "Requests answered, by route and class of status.", labels=["route", "status"]
        )
        for (route, status), count in sorted(counts.answers.items()):
            answers.add_metric([route or "none", f"{status}xx"], count)
        yield answers
        yield counter("xmppd_http_received_bytes", "Bytes of requests, without those of TLS.", counts.received)
        yield counter("xmppd_http_sent_bytes", "Bytes of answers, without those of TLS.", counts.sent)
        seconds = HistogramMetricFamily(
            "xmppd_http_request_seconds", "From a request's header to the end of its answer.", labels=["route"]
        )
        for route, found in sorted(counts.seconds.items()):
            seconds.add_metric([route or "none"], buckets(found), found.sum)
        yield seconds

    def _process(self) -> Iterator[Metric]:
        server = self.server
        refused = sum(listener.refused for listener in server.listeners)
        yield counter("xmppd_connections_refused", "Connections closed at once, for their number.", refused)
        yield histogram("xmppd_loop_lag_seconds", "How late the event loop runs its timers.", server.counts.lag)
        times = SummaryMetricFamily(
            "xmppd_handler_seconds", "Time in handlers of plugins: one in 64 is timed.", labels=["host", "handler"]
        )
        for host in server.hosts.values():
            for name, (count, seconds) in sorted(host.times.seconds.items()):
                times.add_metric([host.domain, name], count_value=count, sum_value=seconds)
        yield times


def gauge(name: str, doc: str, value: float) -> Metric:
    return GaugeMetricFamily(name, doc, value=float(value))


def counter(name: str, doc: str, value: float) -> Metric:
    return CounterMetricFamily(name, doc, value=float(value))


def histogram(name: str, doc: str, found: Histogram) -> Metric:
    return HistogramMetricFamily(name, doc, buckets=buckets(found), sum_value=found.sum)


def buckets(found: Histogram) -> list[tuple[str, float]]:
    """Upper bound, and how many are below it."""
    return list(zip([*map(str, SECONDS), "+Inf"], map(float, accumulate(found.counts)), strict=True))


class Numbers(Result, frozen=True):
    """`page`: OpenMetrics 1.0."""

    page: str

    def text(self) -> str:
        return self.page


class Exposition:
    """One server's numbers and its process's, in a registry of their own."""

    def __init__(self, server: RunningServer) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(ServerCollector(server))
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """OpenMetrics 1.0, UTF-8."""
        page: bytes = generate_latest(self._registry)  # type: ignore[no-untyped-call]
        return page

    @operation("metrics", "Print what the running server counts, as OpenMetrics text.", scope=Scope.SERVER)
    async def tell(self) -> Numbers:
        return Numbers(self.text().decode())

    def families(self) -> dict[str, Metric]:
        """By name, now."""
        return {family.name: family for family in self._registry.collect()}
