"""Chromium without a window, led over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from pathlib import Path
from typing import Any

import aiohttp

WITHIN = 30.0
"""Seconds for anything to appear in a page."""


class ScriptError(Exception):
    """What a page's script has raised."""


class Browser:
    """A process with a profile of its own. `arguments` beside those that every test needs."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.arguments = arguments

    async def __aenter__(self) -> Browser:
        self._log = (self.folder / "chromium.log").open("wb")
        self._process = await asyncio.create_subprocess_exec(
            "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--disable-background-networking", "--disable-component-update", "--no-first-run", "--lang=en-GB",
            f"--user-data-dir={self.folder / 'profile'}", "--remote-debugging-port=0", "--window-size=1200,800",
            *self.arguments, "about:blank", stdout=self._log, stderr=self._log, start_new_session=True,
            env={**os.environ, "HOME": str(self.folder), "LANG": "C.UTF-8"},
        )  # fmt: skip
        told = self.folder / "profile" / "DevToolsActivePort"
        end = asyncio.get_running_loop().time() + WITHIN
        while not (told.exists() and len(told.read_text().split()) == 2):
            assert self._process.returncode is None, (self.folder / "chromium.log").read_text()
            assert asyncio.get_running_loop().time() < end, "chromium has not started"
            await asyncio.sleep(0.02)
        self._port = told.read_text().split()[0]
        self._http = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._http.close()
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), 10)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        self._log.close()

    async def open(self) -> Tab:
        """A new tab, empty."""
        async with self._http.put(f"http://127.0.0.1:{self._port}/json/new?about:blank") as answer:
            target = await answer.json(content_type=None)
        tab = Tab(await self._http.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0))
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            await tab.call(f"{domain}.enable")
        return tab


class Tab:
    """A page. `requests`: the addresses it has asked for; `complaints`: what the browser has refused
    (Content-Security-Policy), could not load, or could not run; `console`: what the page itself calls an error."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._serial = 0
        self.requests: list[str] = []
        self.answers: dict[str, dict[str, Any]] = {}
        """The last answer for an address: `status`, `headers`, `fromDiskCache`."""
        self.from_memory: set[str] = set()
        """Addresses that were answered without a look at the disk or the network."""
        self._addresses: dict[str, str] = {}
        self.complaints: list[str] = []
        self.console: list[str] = []
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for message in self._socket:
                told = json.loads(message.data)
                if "id" in told:
                    self._waiting.pop(told["id"]).set_result(told)
                else:
                    self._note(told["method"], told["params"])
        finally:
            for waiting in self._waiting.values():
                waiting.cancel("the browser is gone")

    def _note(self, method: str, told: dict[str, Any]) -> None:
        match method:
            case "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])
                self._addresses[told["requestId"]] = told["request"]["url"]
            case "Network.webSocketCreated":
                self.requests.append(told["url"])
            case "Network.requestServedFromCache":
                self.from_memory.add(self._addresses[told["requestId"]])
            case "Network.responseReceived":
                self.answers[told["response"]["url"]] = told["response"]
            case "Log.entryAdded" if told["entry"]["level"] == "error":
                self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
            case "Runtime.consoleAPICalled" if told["type"] == "error":
                self.console.append(str([each.get("value", each.get("description")) for each in told["args"]])[:2000])
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(told["exceptionDetails"])[:2000])

    async def call(self, method: str, **parameters: Any) -> Any:
        """A command of the protocol. Raises ScriptError."""
        self._serial += 1
        waiting = self._waiting[self._serial] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._serial, "method": method, "params": parameters})
        told = await asyncio.wait_for(waiting, WITHIN)
        if "error" in told:
            raise ScriptError(f"{method}: {told['error']}")
        return told["result"]

    async def go(self, address: str) -> None:
        await self.call("Page.navigate", url=address)

    async def reload(self) -> None:
        """As by F5. What was in the page is gone when this returns."""
        await self.run("window.before = true")
        await self.call("Page.reload")
        await self.until("!window.before")

    async def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is waited for. Raises ScriptError."""
        told = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in told:
            raise ScriptError(f"{script}: {json.dumps(told['exceptionDetails'])[:1000]}")
        return told["result"].get("value")

    async def until(self, script: str, within: float = WITHIN) -> Any:
        """Wait until an expression is true; its value. While a page is replaced by the next there is none."""
        end = asyncio.get_running_loop().time() + within
        error = ""
        while True:
            try:
                if found := await self.run(script):
                    return found
            except ScriptError as raised:
                error = str(raised)
            if asyncio.get_running_loop().time() > end:
                text = await self.run("document.body.innerText")
                complaints = "\n".join(self.complaints + self.console)
                raise AssertionError(f"never true: {script} {error}\nThe page:\n{text}\nIts console:\n{complaints}")
            await asyncio.sleep(0.05)

    async def shows(self, selector: str, text: str = "") -> None:
        """Wait until an element is to be seen, and has a text."""
        await self.until(
            f"[...document.querySelectorAll({json.dumps(selector)})].some(each => "
            f"each.checkVisibility() && each.textContent.includes({json.dumps(text)}))"
        )

    async def click(self, selector: str, text: str = "") -> None:
        """With the mouse, on what is to be seen there."""
        await self.shows(selector, text)
        place = await self.until(
            f"(() => {{ const found = [...document.querySelectorAll({json.dumps(selector)})].find(each => "
            f"each.checkVisibility() && each.textContent.includes({json.dumps(text)}));"
            "found.scrollIntoView({block: 'nearest', behavior: 'instant'}); const box = found.getBoundingClientRect();"
            "const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];"
            "const there = document.elementFromPoint(x, y);"
            "return (found.contains(there) || there?.contains(found)) && [x, y]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    async def type(self, selector: str, text: str, enter: bool = False) -> None:
        """Into a field, in place of what was there."""
        await self.shows(selector)
        await self.until(
            f"(() => {{ const field = document.querySelector({json.dumps(selector)}); field.focus(); field.select?.();"
            "return document.activeElement === field; })()"
        )
        await self.call("Input.insertText", text=text)
        if enter:
            for kind in ("keyDown", "keyUp"):
                await self.call(
                    "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13,
                    text="\r" if kind == "keyDown" else "",
                )  # fmt: skip

    async def choose_file(self, selector: str, path: Path) -> None:
        """What a person does who chooses a file for that field."""
        await self.until(f"document.querySelector({json.dumps(selector)}) !== null")
        root = (await self.call("DOM.getDocument"))["root"]["nodeId"]
        node = (await self.call("DOM.querySelector", nodeId=root, selector=selector))["nodeId"]
        await self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    async def picture(self, path: Path) -> None:
        """A PNG of what is to be seen."""
        told = await self.call("Page.captureScreenshot", format="png")
        await asyncio.to_thread(path.write_bytes, base64.b64decode(told["data"]))

    async def close(self) -> None:
        await self._socket.close()
        self._reader.cancel()
