"""What tells a process from all others, and whether it still lives."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any


def this_process() -> dict[str, Any]:
    """What tells this process from all others that this machine can see."""
    return {"host": socket.gethostname(), "space": _space(), "pid": os.getpid(), "started": _started(os.getpid())}


def _space() -> str:
    """The boot and the namespaces of processes and times: within all, a pid and when it began say who it is. "" where
    `/proc` is that of another namespace: its pids are others."""
    try:
        if os.readlink("/proc/self") != str(os.getpid()):
            return ""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = boot + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
    with suppress(OSError):  # before Linux 5.6 there is one time
        space += os.readlink("/proc/self/ns/time")
    return space


def _started(pid: int) -> str:
    """When a process began, in ticks since the boot; "" when there is none to be seen (proc(5), stat, field 22)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _is_there(pid: int) -> bool:
    """Also one that `/proc` does not show, because it is another user's (`hidepid`, `ProtectProc=`)."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def is_gone(process: Any) -> bool:
    """Whether a process has ended, or is this one, as far as can be told from here at once."""
    mine = this_process()
    if not isinstance(process, dict) or not mine["space"]:
        return False
    if (process.get("host"), process.get("space")) != (mine["host"], mine["space"]):
        return False
    pid = process.get("pid")
    if not isinstance(pid, int):
        return False  # a damaged record is watched
    if pid == mine["pid"]:
        return True
    if pid <= 0:
        return False
    now, then = _started(pid), process.get("started")
    return not _is_there(pid) or bool(now and then and now != then)
