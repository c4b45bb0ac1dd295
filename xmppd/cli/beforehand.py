"""What a start would refuse and can be seen before it: `run` looks first and makes nothing, `check` says the same."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote

from ..config import SQLITE, Problem, ServerConfig, host_problem, problem_at, reachable
from ..hosts.loader import with_accounts
from ..storage import file_problem, uri_problem

Where = tuple[str | int, ...]


def unusable(config: ServerConfig, path: Path) -> list[Problem]:
    """Addresses that this machine does not have or this user may not take, files and folders that cannot be used, a
    store that is none. `path`: the file of the configuration. Ports that are taken are no problem yet: the server may
    be running."""
    found: list[tuple[Where, str]] = [(where, why) for where, why, _ in _addresses(config) if why]
    found += _paths(config)
    problems = [problem_at(path, where, why) for where, why in found]
    homes = with_accounts(config.hosts)
    for domain in config.hosts:
        if _folder(config.var):
            break  # said already
        made = config.certificate_files(domain)
        if domain in homes and config.self_signed(domain) and not any(each.exists() for each in made):
            wrong = {why for each in made if (why := _folder(each.parent))}
            problems += [host_problem(path, domain, "certificate", why) for why in sorted(wrong)]
    return problems


def taken(config: ServerConfig, path: Path) -> list[Problem]:
    """Ports that another program has, when this server does not run."""
    found = [(where, busy) for where, _, busy in _addresses(config) if busy]
    return [
        problem_at(path, ("metrics", "port") if where[0] == "metrics" else where[:-1], busy) for where, busy in found
    ]


def runs(config: ServerConfig) -> bool:
    """Whether a server answers on the control socket, or may do so for another user."""
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(reachable(config.control_socket)))
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _addresses(config: ServerConfig) -> Iterator[tuple[Where, str, str]]:
    """The options with addresses; why nobody can listen there, and why nobody can now; each "" if they can."""
    for number, each in enumerate(config.every_listener):
        section = config.listener_place(number)[: 2 if number < len(config.listeners) else 1]
        yield ((*section, "address"), *_bound(each.address, each.port))


def _bound(address: str, port: int) -> tuple[str, str]:
    ip = ipaddress.ip_address("127.0.0.1" if address == "localhost" else address)
    with socket.socket(socket.AF_INET6 if ip.version == 6 else socket.AF_INET) as probe:
        # As the server listens: beside what only waits for its end, and IPv6 beside IPv4.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if ip.version == 6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind((str(ip), port))
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            if error.errno == errno.EADDRINUSE:
                return "", f"{address} port {port} cannot be opened: {why}"
            if error.errno == errno.EACCES:
                return f"{address} port {port} cannot be opened by this user: {why}", ""
            return f"{address} cannot be listened on: {why}", ""
    return "", ""


def _paths(config: ServerConfig) -> Iterable[tuple[Where, str]]:
    if why := _folder(config.var) or _file(config.var / "secret", os.R_OK):
        yield ("var",), why
    if config.storage.startswith(SQLITE):
        store = Path(unquote(config.storage.removeprefix(SQLITE)))
        lock = Path(f"{store}.lock")
        if why := _folder(store.parent) or _file(store) or _file(lock) or file_problem(store):
            yield ("storage",), why
    elif why := uri_problem(config.storage):
        yield ("storage",), why
    if config.log.file is not None:
        folder = config.log.file.parent
        if why := "" if folder.is_dir() else f"{config.log.file} cannot be opened: {folder} is not there":
            yield ("log", "file"), why
        elif why := _file(config.log.file, os.W_OK) or ("" if config.log.file.exists() else _folder(folder)):
            yield ("log", "file"), why
    if (config.control or not _folder(config.var)) and (why := _socket(config.control_socket)):
        yield ("control",) if config.control else ("var",), why


def _folder(folder: Path) -> str:
    """Why a file cannot be made in a folder, which need not be there yet; "" if it can."""
    there = next((each for each in (folder, *folder.parents) if os.path.lexists(each)), folder)
    if not os.path.isdir(there):
        return f"{folder} cannot be written by this user: {there} is not a folder"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{folder} cannot be written by this user"
    return ""


def _file(file: Path, mode: int = os.R_OK | os.W_OK) -> str:
    """Why a file that is there cannot be used; "" if it can, or is not there."""
    try:
        kind = os.stat(file).st_mode
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{file} cannot be opened: {error.strerror}"
    if stat.S_ISDIR(kind):
        return f"{file} is a folder"
    return "" if os.access(file, mode) else f"{file} cannot be opened by this user: Permission denied"


def _socket(control: Path) -> str:
    """Why the control socket cannot be made, "" if it can."""
    try:
        if not stat.S_ISSOCK(os.lstat(control).st_mode):
            return f"{control} is there and is not a socket"
    except FileNotFoundError:
        pass
    except OSError as error:
        return f"{control} cannot be used: {error.strerror}"
    return _folder(control.parent)
