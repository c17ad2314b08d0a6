"""A headless browser driven over its DevTools protocol."""

import asyncio
import base64
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--remote-debugging-port=0",
    "--hide-scrollbars",
    "--no-first-run",
)


def find_browser() -> str | None:
    """Return the program, if there is one."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


class Page:
    """One page; notes requests, exceptions and errors of the console."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.requests: list[str] = []
        self.errors: list[str] = []
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded = asyncio.Event()
        self._reader = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        async for message in self.socket:
            content = message.json()
            if "id" in content:
                self._answers.pop(content["id"]).set_result(content)
            else:
                self._note(content["method"], content["params"])

    def _note(self, event: str, facts: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.requests.append(facts["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.errors.append(str(facts["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and facts["type"] == "error":
            self.errors.append(str([value.get("value") for value in facts["args"]]))
        elif event == "Log.entryAdded" and facts["entry"]["level"] == "error":
            self.errors.append(facts["entry"]["text"])
        elif event == "Page.loadEventFired":
            self._loaded.set()

    async def call(self, method: str, **options: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        number = getattr(self, "_number", 0) + 1
        self._number = number
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self.socket.send_json({"id": number, "method": method, "params": options})
        answer = await asyncio.wait_for(self._answers[number], 30)
        assert "error" not in answer, answer
        return answer["result"]

    async def open(self, path: Path, *, width: int = 1280, height: int = 900) -> None:
        """Open a file with the network off."""
        for domain in ("Page", "Runtime", "Network", "Log"):
            await self.call(f"{domain}.enable")
        await self.call(
            "Network.emulateNetworkConditions",
            offline=True, latency=0, downloadThroughput=0, uploadThroughput=0,
        )  # fmt: skip
        await self.resize(width, height)
        self._loaded.clear()
        await self.call("Page.navigate", url=path.resolve().as_uri())
        await asyncio.wait_for(self._loaded.wait(), 30)

    async def resize(self, width: int, height: int) -> None:
        """Change the window."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    async def run(self, expression: str) -> Any:
        """Return the value of an expression, awaited if need be."""
        answer = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def wait_for(self, expression: str, seconds: float = 30) -> None:
        """Wait until an expression is true."""
        for _ in range(int(seconds * 10)):
            if await self.run(expression):
                return
            await asyncio.sleep(0.1)
        raise TimeoutError(f"{expression}; {await self.run('document.body.innerText')}"[:2000])

    async def shoot(self, **options: Any) -> bytes:
        """Return a PNG of what is seen."""
        return base64.b64decode((await self.call("Page.captureScreenshot", **options))["data"])

    async def close(self) -> None:
        """Stop listening."""
        self._reader.cancel()
        await self.socket.close()


@asynccontextmanager
async def browse(browser: str, *more: str) -> AsyncIterator[Page]:
    """Start a browser with an empty page, with more options if need be."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [browser, *FLAGS, *more, f"--user-data-dir={profile}", "about:blank"],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert process.stderr is not None
        try:
            address = await asyncio.to_thread(_address, process)
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://{address}/json") as answer:
                    pages = await answer.json()
                target = next(page for page in pages if page["type"] == "page")
                url = target["webSocketDebuggerUrl"]
                async with session.ws_connect(url, max_msg_size=0) as socket:
                    page = Page(socket)
                    yield page
                    await page.close()
        finally:
            process.terminate()
            process.wait(10)
            process.stderr.close()


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"ws://([^/]+)/", line):
            return found.group(1)
    raise RuntimeError("the browser ended before it said where it listens")
