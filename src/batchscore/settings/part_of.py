"""Which of several workers is this one: K of N, as people write it, or as the launcher of a job says it?

Pure: the environment is an argument.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from batchscore.errors import UsageError, setting_name

#: The value that takes the worker's number from the launcher.
AUTO = "auto"

#: Variables of a worker's number from 0, and of the number of workers: torchrun and Azure ML's distributed
#: jobs, Open MPI, MPICH and Intel MPI, `srun`.
LAUNCHERS = (
    ("RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
)

_K_OF_N = re.compile(r"(\d{1,6})/(\d{1,6})", re.ASCII)


def parse_part_of(text: str) -> tuple[int, int]:
    """Return K and N; raises `UsageError` if the text is not K/N with K from 1 to N."""
    match = _K_OF_N.fullmatch(text.strip())
    number, workers = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= workers:
        raise UsageError(
            f"{setting_name('part_of')} is {text[:20]!r}; it must be K/N with K from 1 to N, such as 1/4 "
            f"for the first of four workers, or {AUTO}."
        )
    return number, workers


def part_of_launcher(environ: Mapping[str, str]) -> str:
    """Return K/N as the launcher of this process says it; raises `UsageError` if it does not."""
    name = setting_name("part_of")
    if environ.get("SLURM_ARRAY_TASK_ID"):
        # Each task of an array is a job of its own, with one process.
        raise UsageError(
            f"{name} {AUTO} does not know how the tasks of a Slurm array are numbered. With --array=1-4, "
            f"give {name} $SLURM_ARRAY_TASK_ID/4."
        )
    for rank, size in LAUNCHERS:
        texts = environ.get(rank, "").strip(), environ.get(size, "").strip()
        if all(re.fullmatch(r"\d{1,6}", text, re.ASCII) for text in texts):
            found = f"{int(texts[0]) + 1}/{int(texts[1])}"
            parse_part_of(found)
            return found
    known = ", ".join(f"{rank} and {size}" for rank, size in LAUNCHERS)
    raise UsageError(
        f"{name} {AUTO} finds no worker number: none of these pairs of variables is set: {known}. Give K/N, "
        "such as 1/4."
    )
