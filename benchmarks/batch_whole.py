"""How long does a whole run through batches take, beside a plain script with the SDK that promises nothing?

    python benchmarks/batch_whole.py [ROWS] [--runs N]

Both read the same CSV file of chat rows, upload files of requests to the simulator, whose batches end when it
has run their lines, download the results, and write JSON Lines. The plain script does what pages of the SDK
show: it knows no kill, no fault and no limit, and an answer's row by its `custom_id` only.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from batchscore.simulator import start
from simulated import Project

MODEL, TOKENS, LINES = "gpt-4o-mini", 50, 50_000
TEXT = "The parcel was late, and the box was open when it came. I want a refund, please."
#: Seconds between two looks at the batches.
LOOK = 0.2


def plain(endpoint: str, key: str) -> int:
    """Score `in.csv` into `plain.jsonl` with the SDK; return the number of rows."""
    import openai  # noqa: PLC0415 - each way loads its own

    client = openai.OpenAI(base_url=f"{endpoint}/v1", api_key=key)
    made: list[str] = []
    with Path("in.csv").open(newline="") as source:
        every = enumerate(csv.DictReader(source))
        while rows := list(islice(every, LINES)):
            path = Path(f"requests-{len(made)}.jsonl")
            with path.open("w") as file:
                for row, columns in rows:
                    message = {"role": "user", "content": columns["text"]}
                    body = {"model": MODEL, "messages": [message], "max_tokens": TOKENS}
                    line = {
                        "custom_id": str(row),
                        "method": "POST",
                        "url": "/v1/chat/completions",
                        "body": body,
                    }
                    file.write(json.dumps(line) + "\n")
            with path.open("rb") as file:
                uploaded = client.files.create(file=file, purpose="batch")
            batch = client.batches.create(
                input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
            )
            made.append(batch.id)
    count = 0
    with Path("plain.jsonl").open("w") as file:
        for each in made:
            while (batch := client.batches.retrieve(each)).status != "completed":
                time.sleep(LOOK)
            assert batch.output_file_id
            for text in client.files.content(batch.output_file_id).text.splitlines():
                line = json.loads(text)
                answer = line["response"]["body"]["choices"][0]["message"]["content"]
                file.write(json.dumps({"row": int(line["custom_id"]), "chat": answer}) + "\n")
                count += 1
    return count


def ours(endpoint: str, key: str) -> int:
    """Score `in.csv` into `out`; return the number of rows."""
    from batch_runs import FAST, BatchRun  # noqa: PLC0415

    run = BatchRun(endpoint, key, waits=FAST)
    result = run(max_tokens=TOKENS)
    assert not result.exit_code, run.said
    return sum(each.rows for each in result.outcome.files)


def processor_of(pid: int) -> float:
    """Return the seconds of CPU that another process has used."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def measured(way: str) -> tuple[float, float, float]:
    """Run one way in a process of its own; return its seconds, its seconds of CPU, and the simulator's."""
    with start() as simulator:
        os.sched_setaffinity(simulator.pid, {max(os.sched_getaffinity(0))})
        before = processor_of(simulator.pid)
        project = Project(simulator.endpoint, simulator.key, way)
        project.set_rules(validating=0, in_progress=0, finalizing=0)
        command = [sys.executable, __file__, "--way", way, simulator.endpoint, project.key]
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        seconds, processor, memory, rows = json.loads(found)
        served = processor_of(simulator.pid) - before
    print(
        f"{way:12} {rows:9,} rows {seconds:7.1f} s {processor:7.1f} s of CPU {memory:6.0f} MB"
        f" {served:7.1f} s of CPU of the simulator",
        flush=True,
    )
    return seconds, processor, served


def main() -> None:
    """Run both ways in turn, and print the ratios of their medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int, nargs="?", default=200_000)
    parser.add_argument("--runs", type=int, default=1)
    given = parser.parse_args()
    found: dict[str, list[tuple[float, float, float]]] = {"plain": [], "batchscore": []}
    for _ in range(given.runs):
        for way, results in found.items():
            with tempfile.TemporaryDirectory(prefix="batch-whole-") as folder:
                os.chdir(folder)
                with Path("in.csv").open("w") as file:
                    file.write("id,text\n")
                    file.writelines(f'{row},"{row} {TEXT}"\n' for row in range(given.rows))
                results.append(measured(way))
                os.chdir("/")
    first, second = ([median(each) for each in zip(*results, strict=True)] for results in found.values())
    for what, these in {"time": [0], "CPU time": [1], "CPU time with the simulator's": [1, 2]}.items():
        ratio = sum(second[each] for each in these) / sum(first[each] for each in these)
        print(f"{what:30} {ratio:6.2f} times that of the plain script")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--way"]:
        started = time.monotonic()
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        rows = {"plain": plain, "batchscore": ours}[sys.argv[2]](*sys.argv[3:])
        used = resource.getrusage(resource.RUSAGE_SELF)
        processor, memory = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
        print(json.dumps([time.monotonic() - started, processor, memory, rows]))
    else:
        main()
