#!/usr/bin/env python3
"""Update a search index from the changes of runs. Here the index is a JSON file of vectors by id."""

from __future__ import annotations

import json
import os
from pathlib import Path

import batchscore

OUTPUT = Path(os.environ.get("NIGHTLY_OUTPUT", "scores"))
INDEX = Path(os.environ.get("NIGHTLY_INDEX_FILE", "index.json"))


def main() -> None:
    """Read the changes of all runs since the last update, in order, then fetch the changed vectors."""
    state = json.loads(INDEX.read_text("utf-8")) if INDEX.exists() else {"last_run": "", "vectors": {}}
    vectors, wanted = state["vectors"], set()
    for changes in sorted((OUTPUT / "changes").glob("*/embeddings.jsonl")):
        run = changes.parent.name
        if run <= state["last_run"]:
            continue
        with changes.open(encoding="utf-8") as lines:
            for change in map(json.loads, lines):
                if "id" not in change:
                    continue  # the row's id is null, so it cannot be in the index
                if change["change"] == "deleted":
                    wanted.discard(change["id"])
                    vectors.pop(change["id"], None)
                elif change["change"] in {"new", "changed"}:
                    wanted.add(change["id"])
        state["last_run"] = run
    if wanted:
        frame = batchscore.read_scores(OUTPUT, task="embeddings")
        found = zip(frame["id"], frame["embeddings"], strict=True)
        vectors.update((identity, vector.tolist()) for identity, vector in found if identity in wanted)
    # Keep the old index until the new one is complete.
    INDEX.with_suffix(".new").write_text(json.dumps(state), "utf-8")
    INDEX.with_suffix(".new").replace(INDEX)


if __name__ == "__main__":
    main()
