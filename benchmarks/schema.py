"""What does a schema cost per row: parsing and validating an answer of twelve fields?

It reads the same replies with and without a schema, in turn. The figures are medians of CPU time; the limit
is 60 µs per row. An answer that breaks a rule costs more, since the rule is looked for.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from batchscore.prompts.replies import ReplyReader
from batchscore.prompts.schema import answer_schema
from batchscore.settings.slices import SchemaSettings
from batchscore.task import CHAT

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from tickets import ANSWER, SCHEMA


def reply(number: int) -> bytes:
    """Return a reply whose answer is another one for each number."""
    text = orjson.dumps({**ANSWER, "replies": number, "summary": f"Ticket {number}. " * 4}).decode()
    message = {"role": "assistant", "content": text, "refusal": None}
    usage = {"prompt_tokens": 400, "completion_tokens": 150, "total_tokens": 550}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return orjson.dumps({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage})


def microseconds(read: Callable[[bytes], Any], replies: list[bytes]) -> float:
    started = time.process_time()
    for each in replies:
        read(each)
    return (time.process_time() - started) / len(replies) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=9)
    given = parser.parse_args()
    replies = [reply(number) for number in range(given.rows)]
    schema = answer_schema(SchemaSettings(schema=SCHEMA, schema_mode="auto", schema_feedback=False))
    assert schema is not None
    plain, checked = ReplyReader(CHAT), ReplyReader(CHAT, schema=schema)
    sent = b"x" * 2000
    wrong = {**ANSWER, "priority": "zebra"}
    with_schema, without, invalid = [], [], []
    for _ in range(given.runs):
        without.append(microseconds(lambda body: plain.read(body, 1, sent), replies))
        with_schema.append(microseconds(lambda body: checked.read(body, 1, sent), replies))
        invalid.append(microseconds(lambda _: schema.validation.broken(wrong), replies[:200]))
    before, after = statistics.median(without), statistics.median(with_schema)
    print(f"without a schema {before:.1f} µs a row, with one {after:.1f}: {after - before:.1f} more")
    print(f"finding the broken rule takes {statistics.median(invalid):.0f} µs")


if __name__ == "__main__":
    main()
