"""The servers that speak the MongoDB wire protocol, and the command that starts each; what is missing is built once."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE.parent.parent / "build" / "mongo-server"
GO = (1, 24)
"""The oldest Go that builds FerretDB."""
GO_PLACES = ("/usr/local/go/bin/go", "/usr/lib/go/bin/go", "/usr/lib/go-1.*/bin/go", "/snap/bin/go")
BUILT = 900.0
"""Seconds that fetching and building may take."""

Command = Callable[[Path, int], list[str]]
"""The command that serves a folder on a port of 127.0.0.1."""


class Unavailable(Exception):
    """No such server can be had here; the text says why."""


def find() -> tuple[str, Command]:
    """The name and the command of the first server that can be had. Raises Unavailable.

    XMPPD_TEST_MONGODB_SERVER=mongod|ferretdb|java allows only that one.
    """
    wanted = os.environ.get("XMPPD_TEST_MONGODB_SERVER")
    if wanted and wanted not in _KINDS:
        raise Unavailable(f"XMPPD_TEST_MONGODB_SERVER={wanted}: one of {', '.join(_KINDS)}")
    missing = []
    for name, command in _KINDS.items():
        if wanted in (None, "", name):
            try:
                return name, command()
            except Unavailable as why:
                missing.append(f"{name}: {why}")
    raise Unavailable("; ".join(missing))


def _mongod() -> Command:
    program = shutil.which("mongod")
    if program is None:
        raise Unavailable("not on the PATH")
    return lambda folder, port: [program, "--dbpath", str(folder), "--port", str(port), "--bind_ip", "127.0.0.1"]


def _ferretdb() -> Command:
    """FerretDB by `main.go`, its modules as `go.sum` has them."""
    program = CACHE / "ferretdb"
    sources = [HERE / name for name in ("main.go", "go.mod", "go.sum")]
    with _alone():
        if not _is_newer(program, sources):
            fixed = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false"}
            _run(_go(), "build", "-ldflags=-s -w", "-o", str(program), ".", cwd=HERE, env=fixed)
    return lambda folder, port: [str(program), str(folder), f"127.0.0.1:{port}"]


def _go() -> str:
    """A Go that is new enough."""
    places = [path for place in GO_PLACES for path in Path("/").glob(place[1:])]
    for program in filter(None, [shutil.which("go"), *map(str, places)]):
        said = subprocess.run([program, "env", "GOVERSION"], check=False, capture_output=True, text=True, timeout=30,
                              env={**os.environ, "GOTOOLCHAIN": "local"}).stdout  # fmt: skip
        version = re.match(r"go(\d+)\.(\d+)", said)
        if version and (int(version[1]), int(version[2])) >= GO:
            return program
    raise Unavailable(f"no Go {GO[0]}.{GO[1]} or newer")


def _java() -> Command:
    """mongo-java-server from Maven Central: correct, not fast."""
    for tool in ("mvn", "javac", "java"):
        if shutil.which(tool) is None:
            raise Unavailable(f"no {tool}")
    jars, classes = CACHE / "jars", CACHE / "classes"
    path = f"{classes}{os.pathsep}{jars}{os.sep}*"
    with _alone():
        if not list(jars.glob("mongo-java-server-h2-backend-*.jar")):
            _run("mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies",
                 f"-DoutputDirectory={jars}")  # fmt: skip
        if not _is_newer(classes / "Launcher.class", [HERE / "Launcher.java"]):
            _run("javac", "-d", str(classes), "-cp", path, str(HERE / "Launcher.java"))
    lean = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    return lambda folder, port: ["java", *lean, "-cp", path, "Launcher", str(folder / "data.mv"), str(port)]


_KINDS: dict[str, Callable[[], Command]] = {"mongod": _mongod, "ferretdb": _ferretdb, "java": _java}
"""In the order of choice."""


@contextmanager
def _alone() -> Iterator[None]:
    """One process builds; who comes meanwhile waits and finds it built."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_newer(made: Path, sources: list[Path]) -> bool:
    return made.exists() and all(made.stat().st_mtime >= source.stat().st_mtime for source in sources)


def _run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=BUILT, cwd=cwd, env=env)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command[0]} did not end within {BUILT:.0f} s") from None
    if done.returncode:
        raise Unavailable(f"{command[0]} failed: {(done.stdout + done.stderr)[-500:]}")
