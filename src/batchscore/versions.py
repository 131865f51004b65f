"""Of which versions was a run made?

It loads none of what it names, and never fails: a version that nobody knows is left out.
"""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from batchscore.version import VERSION

#: What takes part in asking and writing.
PACKAGES = ("aiohttp", "numpy", "openai", "orjson", "pyarrow", "uvloop")


def versions() -> dict[str, str]:
    """Return the versions of batchscore, Python, the system and the packages that matter."""
    found = {"batchscore": VERSION, "python": platform.python_version(), "platform": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
