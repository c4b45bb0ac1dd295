"""A page of the manual, and a place to do what it says: a fresh copy of the checkout and terminals.

What a reader pastes is taken from the page as it stands there, with the name of the file that the sentence before it
tells. What is not as on the page: the ports (5222 and 5223 may be taken: free ones in their place), `0.0.0.0` (a test
is for nobody outside: 127.0.0.1), and the packages, which come from the environment of the tests not from the network.
"""

from __future__ import annotations

import asyncio
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tests.ports import free_port
from tests.process.server import ROOT

BLOCK = re.compile(r"^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
COMMENT = re.compile(r"<!--.*?-->")
NAMED = re.compile(r"`([\w./-]+\.(?:py|toml|yaml))`")
ASKED = re.compile(r"(?:Password|Again): $")
WITHIN = 120.0
"""Seconds for a command (an installation is one)."""
NPM = {"npm_config_offline": "true", "npm_config_cache": "/nonexistent"}
"""The web client, which npm would bring, is in tests/interop."""
OWN = ("__editable__", "xmppd", "pip", "__pycache__")
"""What the environment of a copy has of its own."""


@dataclass(frozen=True)
class Block:
    """What is pasted: into a shell (`sh`) or into the file that the sentence before names."""

    kind: str
    text: str
    path: str


class Page:
    """Its blocks by heading, in order; `left`: those that nobody has taken."""

    def __init__(self, name: str, places: dict[str, str]) -> None:
        text = (ROOT / "docs" / name).read_text("utf-8")
        for old, new in places.items():
            text = text.replace(old, new)
        self.left: dict[str, list[Block]] = {}
        for found in BLOCK.finditer(text):
            before = text[: found.start()]
            titles = HEADING.findall(BLOCK.sub("", before))
            sentence = COMMENT.sub("", before).rstrip().rpartition("\n\n")[2]
            named = NAMED.findall(sentence) if sentence.endswith(":") else []
            block = Block(found["kind"], found["text"], named[-1] if named else "")
            self.left.setdefault(titles[-1], []).append(block)

    def take(self, heading: str, kind: str) -> Block:
        """The first block of a kind below a heading that was not taken yet."""
        blocks = self.left[heading]
        block = next(each for each in blocks if each.kind == kind)
        blocks.remove(block)
        return block

    @property
    def pasted(self) -> list[Block]:
        """What nobody has taken of what a reader would paste."""
        return [each for blocks in self.left.values() for each in blocks if each.kind]


class Terminal:
    """A shell with a terminal of its own; who is asked for a password there types `pencil`."""

    def __init__(self, text: str, folder: Path, env: dict[str, str]) -> None:
        self._text = text
        self._master, slave = pty.openpty()
        script = 'exec <"$0" >"$0" 2>&1; exec bash -euc "$1"'  # who opens it first is controlled by it
        self._process = subprocess.Popen(
            ["bash", "-c", script, os.ttyname(slave), text], cwd=folder, env=env, start_new_session=True
        )
        self._slave = slave
        self.shown = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while self._process.poll() is None or self._waiting():
            if self._waiting():
                self.shown += os.read(self._master, 65536).decode(errors="replace").replace("\r\n", "\n")
                if ASKED.search(self.shown):
                    self.type("pencil\n")
                    self.shown += "\n"

    def _waiting(self) -> bool:
        return bool(select.select([self._master], [], [], 0.05)[0])

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def _end(self) -> int:
        try:
            status = self._process.wait(WITHIN)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            raise AssertionError(f"{self._text} did not end:\n{self.shown}") from None
        finally:
            self._reader.join()
            for number in (self._master, self._slave):
                os.close(number)
        return status

    def _wait_for(self, text: str) -> None:
        end = time.monotonic() + WITHIN
        while text not in self.shown:
            assert self._process.poll() is None, f"{self._text} has ended:\n{self.shown}"
            assert time.monotonic() < end, f"{text!r} is not shown:\n{self.shown}"
            time.sleep(0.05)

    async def done(self) -> str:
        """What it has shown, when all of it has succeeded."""
        status = await asyncio.to_thread(self._end)
        assert status == 0, f"{self._text}\nends with {status}:\n{self.shown}"
        return self.shown

    async def shows(self, text: str) -> None:
        await asyncio.to_thread(self._wait_for, text)

    async def interrupt(self) -> str:
        """Ctrl-C. What it has shown."""
        self.type("\x03")
        await asyncio.to_thread(self._end)
        assert "Traceback" not in self.shown, self.shown
        return self.shown

    def kill(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._end()


class Checkout:
    """A copy of what git tracks, without a virtual environment: `make` makes it as for everybody, offline."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "xmppd"
        self.port, direct = free_port(), free_port()
        self.places = {"5222": str(self.port), "5223": str(direct), "0.0.0.0": "127.0.0.1"}
        self._terminals: list[Terminal] = []
        tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
        for name in tracked.decode().split("\0"):
            if name and (ROOT / name).exists():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.folder / name)
        template = self.folder / "config" / "localhost.yaml"
        template.write_text(self._placed(template.read_text()))
        ours = str(Path(sys.prefix) / "bin")
        path = [each for each in os.environ["PATH"].split(os.pathsep) if each != ours]
        python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
        # Option and value of pip have opposite senses here: 0 is "without isolation".
        pip = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_CACHE_DIR": "1"}
        more = {"PATH": os.pathsep.join(path), "HOME": str(folder), "LANG": "C.UTF-8", "TERM": "xterm", **NPM}
        self._env = {**more, **pip, "PYTHON": str(python)}
        self._environment()

    def _placed(self, text: str) -> str:
        for old, new in self.places.items():
            text = text.replace(old, new)
        return text

    def _environment(self) -> None:
        """The virtual environment that `make` makes, with the packages of ours."""
        made = ["make", "--silent", ".venv/bin/python"]
        subprocess.run(made, cwd=self.folder, env=self._env, check=True, timeout=WITHIN)
        (site,) = (self.folder / ".venv" / "lib").glob("python3*/site-packages")
        for old in [*site.glob("*setuptools*"), *site.glob("*distutils*"), *site.glob("pkg_resources")]:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        for source in {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")}:
            for each in source.iterdir():
                if not each.name.startswith(OWN):
                    (site / each.name).symlink_to(each)

    def page(self, name: str) -> Page:
        return Page(name, self.places)

    def write(self, block: Block) -> Path:
        """Paste it into its file."""
        assert block.path, f"no sentence says which file this is:\n{block.text}"
        path = self.folder / block.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
        return path

    def terminal(self, text: str) -> Terminal:
        found = Terminal(text, self.folder, self._env)
        self._terminals.append(found)
        return found

    async def run(self, text: str) -> str:
        """Paste commands; what they show."""
        return await self.terminal(text).done()

    async def serve(self, text: str) -> tuple[Terminal, str]:
        """Start the server in a terminal of its own; the command that it names for adding an account."""
        terminal = self.terminal(text)
        await terminal.shows("In the client:")
        found = re.search(r"Add an account: +(.*)", terminal.shown)
        assert found is not None
        return terminal, found[1].strip()

    def close(self) -> None:
        for each in self._terminals:
            each.kill()
