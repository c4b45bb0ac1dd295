"""The records of TLS, however they come: what is whole is read at once, what is not waits."""

from __future__ import annotations

import itertools
import random
import ssl
from pathlib import Path

import pytest

from xmppd.net.tls import make_self_signed, server_context
from xmppd.net.tls_layer import Pipes, TlsError, TlsLayer

from .net_support import client_context


class Client:
    """Its handshake with `layer` is done."""

    def __init__(self, layer: TlsLayer, version: ssl.TLSVersion) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client_context(maximum_version=version).wrap_bio(self.incoming, self.outgoing)
        done = False
        while not (done and layer.ready):
            try:
                self.tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            sent = self.outgoing.read()
            if sent:
                assert layer.receive(memoryview(sent)) == b""
            self.incoming.write(layer.output())

    def record(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self.outgoing.read()


@pytest.fixture
def layer(tmp_path: Path) -> TlsLayer:
    make_self_signed(["a.example"], tmp_path / "c", tmp_path / "k")
    return TlsLayer(server_context(tmp_path / "c", tmp_path / "k"), Pipes())


VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@VERSIONS
@pytest.mark.parametrize("seed", range(5))
def test_what_is_whole_is_read_at_once(layer: TlsLayer, version: ssl.TLSVersion, seed: int) -> None:
    client, rng = Client(layer, version), random.Random(seed)
    texts = [rng.randbytes(rng.choice((1, 20, 320, 1500, 16_384))) for _ in range(120)]
    sealed = [client.record(text) for text in texts]
    ends = list(itertools.accumulate(map(len, sealed)))
    wire, at, got = b"".join(sealed), 0, b""
    while at < len(wire):
        to_end = next(end for end in ends if end > at) - at
        size = rng.choice((1, 4, 5, 6, to_end, to_end, to_end + 1, to_end + 5, to_end + 30, 40_000))
        got += layer.receive(memoryview(wire[at : at + size]))
        assert layer.output() == b""
        at += size
        whole = sum(len(text) for text, end in zip(texts, ends, strict=True) if end <= at)
        assert len(got) == whole
    assert got == b"".join(texts)


@VERSIONS
def test_what_comes_behind_a_record_in_the_same_read_is_seen(layer: TlsLayer, version: ssl.TLSVersion) -> None:
    client = Client(layer, version)
    data = client.record(b"the last")
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.unwrap()
    assert layer.receive(memoryview(data + client.outgoing.read())) == b"the last"
    assert layer.ended


@VERSIONS
def test_junk_behind_a_record_is_an_error(layer: TlsLayer, version: ssl.TLSVersion) -> None:
    client = Client(layer, version)
    with pytest.raises(TlsError):
        layer.receive(memoryview(client.record(b"the last") + b"\x17\x03\x03\x00\x20" + bytes(32)))


@VERSIONS
def test_the_error_of_one_is_not_anothers(tmp_path: Path, layer: TlsLayer, version: ssl.TLSVersion) -> None:
    """OpenSSL has one queue of errors for each thread."""
    pipes = Pipes()
    other = TlsLayer(server_context(tmp_path / "c", tmp_path / "k"), pipes)
    good, bad = Client(layer, version), Client(other, version)
    first = good.record(b"one") + good.record(b"two")
    with pytest.raises(TlsError):
        other.receive(memoryview(b"\x17\x03\x03\x00\x20" + bytes(32)))
    with pytest.raises(TlsError):
        other.encrypt(b"x")
    assert layer.receive(memoryview(first)) == b"onetwo"
    good.incoming.write(layer.encrypt(b"three"))
    assert good.tls.read() == b"three"
    assert other.goodbye() == b"" and other.output() != b""
    bad.tls = None  # type: ignore[assignment]
    with pytest.raises(TlsError):
        TlsLayer(server_context(tmp_path / "c", tmp_path / "k"), pipes).receive(memoryview(b"GET / HTTP/1.1\r\n\r\n"))
    assert layer.receive(memoryview(good.record(b"four"))) == b"four"
