"""What monitoring reads: HTTP in the numbers, the dashboard, and why the server is not ready."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.core.test_metrics import values
from tests.harness import Harness
from xmppd.net.tls import Certificates, make_self_signed
from xmppd.server.core_routes import without_certificate
from xmppd.server.exposition import Exposition

DASHBOARD = Path(__file__).parents[2] / "config" / "grafana.json"


async def test_requests_are_counted_by_route(server: Harness) -> None:
    assert (await server.http("GET", "/healthz")).status == 200
    assert (await server.http("POST", "/healthz")).status == 405
    assert (await server.http("GET", "/nothing")).status == 404
    found = values(server)
    assert found['xmppd_http_requests_total{route="GET /healthz",status="2xx"}'] == 1
    assert found['xmppd_http_requests_total{route="none",status="4xx"}'] == 2, "no route has a name that clients invent"
    assert found['xmppd_http_request_seconds_count{route="GET /healthz"}'] == 1
    assert found["xmppd_http_received_bytes_total"] > 100 and found["xmppd_http_sent_bytes_total"] > 100


async def test_the_dashboard_names_only_what_there_is(server: Harness) -> None:
    await server.http("GET", "/healthz")
    page = Exposition(server.server).text().decode()
    there = set(re.findall(r"^([a-z_]+)(?:\{| )", page, re.MULTILINE))
    named = set(re.findall(r"\b(?:xmppd|process)_[a-z_]+", DASHBOARD.read_text("utf-8")))
    assert len(named) > 20
    assert not named - there


async def test_why_the_server_is_not_ready(server: Harness) -> None:
    answer = await server.http("GET", "/readyz")
    assert (answer.status, answer.body) == (200, b"ready\n")
    server.server.stopping = True
    answer = await server.http("GET", "/readyz")
    assert (answer.status, answer.body) == (503, b"the server is starting or stopping\n")


async def test_certificates_that_are_not_valid(server: Harness, tmp_path: Path) -> None:
    certificate, key = tmp_path / "a.crt", tmp_path / "a.key"
    make_self_signed(["localhost"], certificate, key)
    certificates = server.server.certificates = Certificates()
    certificates.add("localhost", certificate, key)
    now = datetime.now(UTC)
    assert list(without_certificate(server.server, now)) == []
    late = certificates.expires("localhost") + timedelta(days=1)
    assert list(without_certificate(server.server, late)) == ["localhost: the certificate has expired"]
    certificate.unlink()
    answer = await server.http("GET", "/readyz")
    assert (answer.status, answer.body) == (503, b"localhost: the certificate cannot be read\n")
