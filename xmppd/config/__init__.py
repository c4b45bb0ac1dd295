"""Configuration: typed options, YAML with line numbers, a manual made from both.

For plugin authors: `option`, `Duration`, `Size`; see `option` for the types an option can have.
"""

from .components import ComponentConfig, PrivilegesConfig
from .effective import effective, without_password
from .federation import FederationConfig, RemoteDomainConfig
from .limits import HttpLimits, LimitsConfig, ShapingLimits, SignInLimits, StreamLimits
from .listeners import (
    ClientListenerConfig,
    ComponentListenerConfig,
    HttpListenerConfig,
    ListenerConfig,
    ServerListenerConfig,
)
from .load import bind, bind_options, problem_at
from .nodes import joined
from .option import RawOptions, option
from .problem import ConfigError, Problem, nearest, unknown
from .schema import (
    DEFAULT_PATHS,
    SQLITE,
    HostConfig,
    LogConfig,
    ServerConfig,
    find_config,
    host_problem,
    load_config,
    options_path,
    parse_config,
    reachable,
)
from .units import Duration, Size, Word

__all__ = [
    "DEFAULT_PATHS",
    "SQLITE",
    "ClientListenerConfig",
    "ComponentConfig",
    "ComponentListenerConfig",
    "ConfigError",
    "Duration",
    "FederationConfig",
    "HostConfig",
    "HttpLimits",
    "HttpListenerConfig",
    "LimitsConfig",
    "ListenerConfig",
    "LogConfig",
    "PrivilegesConfig",
    "Problem",
    "RawOptions",
    "RemoteDomainConfig",
    "ServerConfig",
    "ServerListenerConfig",
    "ShapingLimits",
    "SignInLimits",
    "Size",
    "StreamLimits",
    "Word",
    "bind",
    "bind_options",
    "effective",
    "find_config",
    "host_problem",
    "joined",
    "load_config",
    "nearest",
    "option",
    "options_path",
    "parse_config",
    "problem_at",
    "reachable",
    "unknown",
    "without_password",
]
