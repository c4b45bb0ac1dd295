"""Other servers, put together. Only a server with a listener for them loads this module, and with it dnspython:
two to three megabytes that the others do not need."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from typing import TYPE_CHECKING

from ..net.dial import Dialler
from ..net.dns import Resolver
from ..streams.remote_domains import RemoteDomains
from ..streams.server_in import IncomingServerStream

if TYPE_CHECKING:
    from ..config import FederationConfig
    from ..contracts.link import Receiver
    from ..net.tls import Certificates
    from .runtime import RunningServer


def make_remote_domains(server: RunningServer, config: FederationConfig, certificates: Certificates) -> RemoteDomains:
    """Raises CertificateError for authorities that cannot be read."""
    resolver = Resolver(server.clock, config.nameservers)
    allowed = tuple(map(ip_network, config.private_addresses))
    dialler = Dialler(server.clock, resolver, certificates, allowed, float(config.connect_time))
    return RemoteDomains(server, config, certificates, dialler, resolver)


def server_receivers(server: RunningServer) -> Callable[[], Receiver]:
    """What makes the receiver of each connection of another server."""
    remotes = server.remote_domains
    assert remotes is not None  # there is such a listener
    return lambda: IncomingServerStream(server, remotes)
