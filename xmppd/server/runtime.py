"""The running server, as its parts see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ..config import ServerConfig
from ..hosts.host import Host
from ..memory.heap import Trimmer
from ..net.http_routes import RouteTable
from ..net.http_server import HttpServer
from ..net.listen import Listener
from ..net.tls import Certificates
from ..sessions.manager import SessionManager
from ..storage.store import Store
from ..streams.client import ClientStream
from ..streams.components import Components
from ..streams.runtime import StreamServer
from ..streams.websocket import WebSockets

if TYPE_CHECKING:
    from ..streams.remote_domains import RemoteDomains


class RunningServer(StreamServer, Protocol):
    """Everything that runs in one process."""

    limits: Any
    stopping: bool
    certificates: Certificates | None
    http_routes: RouteTable
    streams: set[ClientStream]

    @property
    def remote_domains(self) -> RemoteDomains | None:
        """None: this server talks to no other."""
        ...

    @property
    def components(self) -> Components: ...
    @property
    def hosts(self) -> Mapping[str, Host]: ...
    @property
    def default_host(self) -> Host: ...
    @property
    def config(self) -> ServerConfig: ...
    @property
    def storage(self) -> Store: ...
    @property
    def listeners(self) -> Iterable[Listener]: ...
    @property
    def session_manager(self) -> SessionManager: ...
    @property
    def http(self) -> HttpServer: ...
    @property
    def web_sockets(self) -> WebSockets: ...
    @property
    def trimmer(self) -> Trimmer: ...
    @property
    def ready(self) -> bool:
        """All hosts have started."""
        ...
