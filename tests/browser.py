"""A headless Chromium that opens one page and checks its console, its width and its look."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import aiohttp

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
)

#: The checks of a page: how far it exceeds its width, charts with nothing drawn, tables that are cut in a
#: wide window, and words above tables and charts that are cut in any.
LOOK = """(() => {
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const blank = [...document.querySelectorAll('canvas')].filter(canvas => {
    const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    return !pixels.some((value, place) => place % 4 === 3 && value > 0);
  }).map(canvas => canvas.id);
  const outside = [...document.querySelectorAll('main *')].filter(element => {
    const box = element.getBoundingClientRect();
    return box.width && box.right > innerWidth + 1 && !element.closest('.scroll');
  }).map(element => element.tagName + '.' + element.className);
  const scrolled = [...document.querySelectorAll('.scroll')].filter(element => {
    return innerWidth > 1000 && element.scrollWidth > element.clientWidth + 1;
  }).map(element => element.textContent.slice(0, 60));
  const captions = [...document.querySelectorAll('.caption, figcaption, summary, dt, dd')].filter(element => {
    const box = element.getBoundingClientRect();
    return box.right > innerWidth + 1 || element.scrollWidth > element.clientWidth + 1;
  }).map(element => element.textContent.slice(0, 60));
  return {wide, blank, outside, scrolled, captions, charts: document.querySelectorAll('canvas').length};
})()"""


#: What the checks find on a page that looks well, besides its number of charts.
WELL: Mapping[str, Any] = {"wide": 0, "blank": [], "outside": [], "scrolled": [], "captions": []}


@dataclass(frozen=True)
class Seen:
    """The result at one width in one color scheme."""

    complaints: Sequence[str]
    requests: Sequence[str]
    look: Mapping[str, Any]
    picture: bytes


def look_at(page: Path, views: Sequence[tuple[int, str]], *, scripts: bool = True) -> list[Seen]:
    """Open a page at widths in pixels and in color schemes (light, dark)."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = subprocess.Popen(
            [CHROMIUM, *OPTIONS, f"--user-data-dir={folder}", "about:blank"],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert browser.stderr is not None
            address = next(
                found.group(1)
                for line in browser.stderr
                if (found := re.search(r"DevTools listening on (ws://\S+)", line))
            )
            return asyncio.run(looks(address, page.resolve().as_uri(), views, scripts=scripts))
        finally:
            browser.kill()
            browser.wait()
            browser.stderr.close()


async def looks(address: str, page: str, views: Sequence[tuple[int, str]], *, scripts: bool) -> list[Seen]:
    import aiohttp  # noqa: PLC0415 - only slow tests open a page

    async with aiohttp.ClientSession() as session:
        host = address.split("/")[2]
        async with session.get(f"http://{host}/json") as answer:
            target = next(each for each in await answer.json() if each["type"] == "page")
        async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            tab = Tab(socket)
            for domain in ("Page", "Runtime", "Log", "Network"):
                await tab.ask(f"{domain}.enable")
            await tab.ask("Emulation.setScriptExecutionDisabled", value=not scripts)
            return [await seen(tab, page, width, scheme) for width, scheme in views]


class Tab:
    """One tab: it sends commands and collects events."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.number = 0
        self.told: list[dict[str, Any]] = []

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self.number += 1
        await self.socket.send_json({"id": self.number, "method": method, "params": params})
        while True:
            message = await asyncio.wait_for(self.socket.receive_json(), 30)
            if message.get("id") == self.number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self.told.append(message)

    async def until(self, method: str) -> None:
        while not any(each.get("method") == method for each in self.told):
            self.told.append(await asyncio.wait_for(self.socket.receive_json(), 30))


async def seen(tab: Tab, page: str, width: int, scheme: str) -> Seen:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 700}
    await tab.ask("Emulation.setDeviceMetricsOverride", **size)
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    await tab.ask("Emulation.setEmulatedMedia", features=media)
    tab.told.clear()
    await tab.ask("Page.navigate", url=page)
    await tab.until("Page.loadEventFired")
    drawn = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    await tab.ask("Runtime.evaluate", expression=drawn, awaitPromise=True)
    found = await tab.ask("Runtime.evaluate", expression=LOOK, returnByValue=True)
    size = (await tab.ask("Page.getLayoutMetrics"))["cssContentSize"]
    clip = {"x": 0, "y": 0, "width": width, "height": min(size["height"], 12000), "scale": 1}
    shot = await tab.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
    complaints = [
        json.dumps(each["params"])
        for each in tab.told
        if each.get("method") in {"Runtime.exceptionThrown", "Log.entryAdded"}
        or (
            each.get("method") == "Runtime.consoleAPICalled"
            and each["params"]["type"] in {"error", "warning"}
        )
    ]
    asked = [
        each["params"]["request"]["url"]
        for each in tab.told
        if each.get("method") == "Network.requestWillBeSent"
    ]
    return Seen(complaints, asked, found["result"]["value"], base64.b64decode(shot["data"]))
