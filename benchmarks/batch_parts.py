"""How many rows a second does one core build into chunks, and read from results, beside a plain loop?

`python benchmarks/batch_parts.py [ROWS]`. The plain loops do what a script does that uses the SDK's files and
promises nothing: it writes lines, and reads them into a list.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from batchscore.batch.billing import Billing
from batchscore.batch.build import Builder, ChunkWork
from batchscore.batch.custom_id import custom_id, identity_of, row_digest
from batchscore.batch.cut import MOST_OUTPUT_BYTES, Size
from batchscore.batch.scratch import Scratch
from batchscore.batch.settle import Settling
from batchscore.batch.submit import Decision, Move
from batchscore.batch.work import Ended
from batchscore.output.submitted import Chunks
from batchscore.prompts.batches import BodyFormat
from batchscore.prompts.replies import ReplyReader
from batchscore.prompts.token_estimate import Estimator
from batchscore.rows import Prompt
from batchscore.task import CHAT

TEXT = "The parcel was late, and the box was open when it came. I want a refund, please. " * 3
USAGE = {"prompt_tokens": 70, "completion_tokens": 20, "total_tokens": 90}
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Refund for a late parcel."},
          "finish_reason": "stop"}  # fmt: skip
BODY = {"id": "chatcmpl-1", "object": "chat.completion", "model": "m", "choices": [CHOICE], "usage": USAGE}


def prompt(row: int) -> Prompt:
    body = json.dumps([{"role": "user", "content": f"{row} {TEXT}"}], separators=(",", ":")).encode()
    return Prompt("data/a.csv", row, body, str(row), {"city": "Bonn"})


def timed(what: str, rows: int, work: Callable[[], Any]) -> float:
    started = time.process_time()
    work()
    seconds = time.process_time() - started
    print(f"{what:32} {rows / seconds:12,.0f} rows/s")
    return seconds


def main(rows: int) -> None:
    folder = Path(tempfile.mkdtemp())
    scratch = Scratch(folder / "scratch")
    identity = identity_of(b"chat", b"m")
    limits = Size(50_000, 190_000_000, float("inf"), 50_000, MOST_OUTPUT_BYTES)
    builder = Builder(
        chunks=Chunks(folder / "chunks"),
        scratch=scratch,
        identity=identity,
        service="",
        form=BodyFormat(CHAT, "gpt-4o-mini", {"max_tokens": 50}),
        probe=CHAT.probe,
        url="/v1/chat/completions",
        limits=limits,
        estimator=Estimator(),
        output_bytes=1900,
        needs_canary=False,
    )
    prompts = [prompt(row) for row in range(rows)]
    works: list[ChunkWork] = []

    def plain_build() -> None:
        with (folder / "plain.jsonl").open("w") as file:
            for each in prompts:
                body = {"model": "gpt-4o-mini", "messages": json.loads(each.body), "max_tokens": 50}
                line = {
                    "custom_id": str(each.row),
                    "method": "POST",
                    "url": "/v1/chat/completions",
                    "body": body,
                }
                file.write(json.dumps(line) + "\n")

    def build() -> None:
        for each in prompts:
            full = builder.add(each, row_digest(identity, each))
            if isinstance(full, ChunkWork):
                works.append(full)
        works.append(builder.finish(1))

    plain = timed("plain script: lines", rows, plain_build)
    ours = timed("batchscore: chunks", rows, build)
    print(f"{'':32} {ours / plain:12.2f} times its time")
    results = []
    for work in works:
        path = folder / f"{work.chunk.key}.results"
        with path.open("w") as file:
            for place in range(work.chunk.rows):
                digest = work.digests[16 * place : 16 * place + 16]
                response = {"status_code": 200, "request_id": "r", "body": BODY}
                name = custom_id(work.chunk.key, place, digest)
                file.write(
                    json.dumps({"id": "b", "custom_id": name, "response": response, "error": None}) + "\n"
                )
        results.append(path)

    def plain_read() -> None:
        found = {}
        for path in results:
            for line in path.read_text().splitlines():
                each = json.loads(line)
                found[each["custom_id"]] = each["response"]["body"]["choices"][0]["message"]["content"]

    def read() -> None:
        for work, path in zip(works, results, strict=True):
            settling = Settling(
                ended=Ended(work, Decision(Move.READ_RESULTS), (path,)),
                reader=ReplyReader(CHAT),
                form=builder.form,
                billing=Billing(lambda _: None, lambda *_: None, "m", 1.0),
                rounds=3,
                again=lambda *_: None,
            )
            assert sum(map(len, settling.rows())) == work.chunk.rows

    plain = timed("plain script: results", rows, plain_read)
    ours = timed("batchscore: results", rows, read)
    print(f"{'':32} {ours / plain:12.2f} times its time")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")
    scratch.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
