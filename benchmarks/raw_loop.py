"""What can a bare loop in Python do?

raw_loop.py IN OUT --base-url URL --kind emb|chat --conc C --batch B --timeout S --limit N

aiohttp and orjson, some workers over one iterator, base64 vectors into float32 rows. It retries failed
requests at most eight times. It has no ledger, no checks and no quota: it is the baseline for a scoring
engine. The last line that it prints is JSON: run_s, import_s, run_cpu_s. The measured part excludes the
imports.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import aiohttp
import numpy as np
import orjson

MODELS = {"emb": "text-embedding-3-small", "chat": "gpt-4o-mini"}
PATHS = {"emb": "/embeddings", "chat": "/chat/completions"}
HEADERS = {"authorization": "Bearer k", "content-type": "application/json"}
LINE = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
TRIES = 9

Row = dict[str, Any]


def batches(path: Path, size: int, limit: int) -> Iterator[list[Row]]:
    """Yield the rows of the input in batches of `size`."""
    with path.open("rb") as file:
        rows = map(orjson.loads, islice(file, limit or None))
        while batch := list(islice(rows, size)):
            yield batch


@dataclass
class Loop:
    """An open session and the file for the answers."""

    session: aiohttp.ClientSession
    url: str
    kind: str
    output: BinaryIO

    async def post(self, body: bytes) -> Any:
        """Send a request, retry if necessary, and return the parsed answer."""
        failure = ""
        for attempt in range(TRIES):
            wait = min(8, 0.25 * 2**attempt) * random.uniform(0.5, 1)
            try:
                async with self.session.post(self.url, data=body, headers=HEADERS) as response:
                    if response.status == 200:
                        return orjson.loads(await response.read())
                    if response.status not in (408, 409, 429) and response.status < 500:
                        raise ValueError(f"{response.status} {await response.text()}")
                    if advised := response.headers.get("retry-after-ms"):
                        wait = float(advised) / 1000 * random.uniform(1, 1.25)
                    failure = str(response.status)
                    await response.read()
            except (aiohttp.ClientError, asyncio.TimeoutError, orjson.JSONDecodeError, OSError) as error:
                failure = repr(error)
            await asyncio.sleep(wait)
        raise RuntimeError(failure)

    async def embed(self, batch: list[Row]) -> None:
        """Request the vectors of a batch and write one line for each."""
        texts = [row["text"] for row in batch]
        request = {"model": MODELS["emb"], "input": texts, "encoding_format": "base64"}
        data = (await self.post(orjson.dumps(request)))["data"]
        if len(data) != len(batch):
            raise ValueError("row count")
        for row, datum in zip(batch, data, strict=True):
            vector = np.frombuffer(base64.b64decode(datum["embedding"]), np.float32)
            self.output.write(orjson.dumps({"id": row["id"], "embedding": vector}, option=LINE))

    async def chat(self, batch: list[Row]) -> None:
        """Request the reply for a batch of one row and write it."""
        (row,) = batch
        messages = [{"role": "user", "content": row["text"]}]
        request = {"model": MODELS["chat"], "messages": messages, "max_tokens": 50}
        reply = (await self.post(orjson.dumps(request)))["choices"][0]["message"]["content"]
        self.output.write(orjson.dumps({"id": row["id"], "reply": reply}, option=LINE))

    async def work(self, waiting: Iterator[list[Row]]) -> None:
        """Score batches until none is left; write a failed batch as errors."""
        score = self.embed if self.kind == "emb" else self.chat
        for batch in waiting:
            try:
                await score(batch)
            except Exception as error:
                for row in batch:
                    self.output.write(
                        orjson.dumps({"id": row["id"], "error": repr(error)[:200]}, option=LINE)
                    )


async def run(given: argparse.Namespace) -> None:
    """Score the whole input."""
    waiting = batches(Path(given.input), given.batch if given.kind == "emb" else 1, given.limit)
    with Path(given.output).open("wb", buffering=1 << 20) as output:  # noqa: ASYNC230 - a plain loop writes plainly
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=given.conc),
            timeout=aiohttp.ClientTimeout(total=given.timeout),
        ) as session:
            loop = Loop(session, given.base_url + PATHS[given.kind], given.kind, output)
            await asyncio.gather(*[loop.work(waiting) for _ in range(given.conc)])


def main() -> None:
    started = float(os.environ.get("BENCH_T0") or time.time())
    parser = argparse.ArgumentParser()
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--kind", choices=["emb", "chat"], default="emb")
    for name, default in (("--conc", 32), ("--batch", 256), ("--timeout", 10.0), ("--limit", 0)):
        parser.add_argument(name, type=type(default), default=default)
    given = parser.parse_args()
    begun, cpu = time.time(), time.process_time()
    asyncio.run(run(given))
    measured = {
        "run_s": round(time.time() - begun, 4),
        "import_s": round(begun - started, 4),
        "run_cpu_s": round(time.process_time() - cpu, 4),
    }
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
