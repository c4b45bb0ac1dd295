"""Other servers, put together. Only a server with a listener for them loads this module, and with it dnspython:
two to three megabytes that the others do not need."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from ipaddress import ip_network
from typing import TYPE_CHECKING

from ..contracts.block_lists import BLOCK_LISTS, BlockLists
from ..net.dial import Dialler
from ..net.dns import Resolver
from ..streams.remote_domains import RemoteDomains
from ..streams.server_in import IncomingServerStream

if TYPE_CHECKING:
    from ..config import FederationConfig
    from ..contracts.link import Receiver
    from ..net.tls import Certificates
    from .runtime import RunningServer


class PolicedDomains(RemoteDomains):
    """Other servers, without those that a block list closes this one to (contracts.block_lists)."""

    @cached_property
    def _block_lists(self) -> tuple[BlockLists, ...]:
        """Of all hosts. Asked for when plugins are there."""
        found = (host.find(BLOCK_LISTS) for host in self.server.router.routes.hosts())
        return tuple(each for each in found if each is not None)

    def reaches(self, domain: str) -> bool:
        return super().reaches(domain) and not self._is_listed(domain)

    def _is_listed(self, domain: str) -> bool:
        return any(each.refuses(domain) for each in self._block_lists)

    def sweep(self) -> None:
        """Streams of a domain that has been listed meanwhile end."""
        super().sweep()
        if not self._block_lists:
            return
        talking = {stream.remote for stream in self.outgoing}
        for stream in self.incoming:
            talking.update(remote for remote, _ in stream.pairs)
        if any(map(self._is_listed, talking)):
            self.configure(self.config, self.trust)


def make_remote_domains(server: RunningServer, config: FederationConfig, certificates: Certificates) -> RemoteDomains:
    """Raises CertificateError for authorities that cannot be read."""
    resolver = Resolver(server.clock, config.nameservers)
    allowed = tuple(map(ip_network, config.private_addresses))
    dialler = Dialler(server.clock, resolver, certificates, allowed, float(config.connect_time))
    return PolicedDomains(server, config, certificates, dialler, resolver)


def server_receivers(server: RunningServer) -> Callable[[], Receiver]:
    """What makes the receiver of each connection of another server."""
    remotes = server.remote_domains
    assert remotes is not None  # there is such a listener
    return lambda: IncomingServerStream(server, remotes)
