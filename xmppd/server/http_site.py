"""What one HTTP listener serves: the core's routes, and those of the plugins of its hosts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ..config import HttpListenerConfig
from ..contracts.http import HttpError, HttpRoute
from ..errors import MalformedJid
from ..jid import prepare_domain
from ..net.http_routes import CORS, Match, below, match, split_path
from ..net.proxies import Proxies

if TYPE_CHECKING:
    from ..config import ListenerConfig
    from ..hosts.host import Host
    from ..net.listen import Listener
    from .runtime import RunningServer


class HttpSite:
    """Finds the route of a request by host, path and method (`http_server.Site`)."""

    def __init__(self, server: RunningServer, config: HttpListenerConfig) -> None:
        self.server = server
        self.paths = config.paths
        self.proxies = proxies_of(config)
        names = [prepare_domain(domain) for domain in config.hosts]
        self.hosts: Mapping[str, Host] = {name: server.hosts[name] for name in names} or server.hosts
        self.default = self.hosts[names[0]] if names else server.default_host
        """Answers where a request names no host of ours, as by an IP address."""

    def find(self, method: str, host: str, path: str) -> tuple[Match, str]:
        """The route for a request, and the domain that answers. Raises HttpError."""
        segments = split_path(path)
        if self.paths and not below(segments, self.paths):
            raise HttpError(404)
        named = below(segments, (path for path in self.paths if path.strip("/")))  # "/" names nothing
        home = self._host(host)
        routes = _served(self.server.http_routes.routes(segments), named)
        if not routes:
            routes = _served(home.http_routes.routes(segments), named)
            if routes and not home.started:
                cors = CORS if any(route.cors for route in routes.values()) else {}
                raise HttpError(503, headers={"Retry-After": "5", **cors})
        return match(routes, method, segments), home.domain

    def _host(self, name: str) -> Host:
        try:
            return self.hosts.get(name) or self.hosts.get(prepare_domain(name)) or self.default
        except MalformedJid:
            return self.default


def _served(routes: Mapping[str, HttpRoute], named: bool) -> Mapping[str, HttpRoute]:
    """Those of a path that may be served; `named`: the listener names it."""
    return {method: route for method, route in routes.items() if named or route.public}


def proxies_of(config: ListenerConfig) -> Proxies:
    """Those in front of a listener."""
    if not isinstance(config, HttpListenerConfig):
        return Proxies()
    return Proxies(config.trusted_proxies, config.proxy_header, config.tls == "proxy")


def url(
    listeners: Iterable[tuple[ListenerConfig, Listener]], domain: str, path: str, secure: bool | None = None
) -> str:
    """The address under which people reach a path of a domain; "" where none of the listeners serves it.

    One with a `public_url` goes first; a loopback address without one is for the names of this machine only, while
    there is another. Of equals that one which has TLS, or has none, as `secure` says; None: https, but for the names of
    this machine.
    """
    wanted = secure if secure is not None or _local(domain) else True
    found = []
    for config, listener in listeners:
        if not isinstance(config, HttpListenerConfig):
            continue
        served = not config.hosts or domain in map(prepare_domain, config.hosts)
        if served and (not config.paths or below(tuple(path.strip("/").split("/")), config.paths)):
            rank = 0 if config.public_url else 2 if config.is_loopback and not _local(domain) else 1
            base = config.base(domain, listener.port)
            other = wanted is not None and base.startswith("https:") != wanted
            found.append(((rank, other), f"{base}{path}"))
    return min(found, key=lambda each: each[0])[1] if found else ""


def _local(domain: str) -> bool:
    """A name that always stands for this machine (RFC 6761 section 6.3)."""
    return domain == "localhost" or domain.endswith(".localhost")
