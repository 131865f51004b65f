"""Print what pip-audit has found, and exit with the code that .ci/audit promises."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(found: str) -> int:
    """Return the exit code. pip-audit skips what it cannot look up, and calls the rest clean."""
    try:
        packages = json.loads(Path(found).read_text("utf-8"))["dependencies"]
    except (OSError, ValueError, KeyError):
        print("Not audited: pip-audit has failed. Its last lines are below.")
        return 3
    audited = [each for each in packages if "skip_reason" not in each]
    vulnerable = [each for each in audited if each["vulns"]]
    for each in vulnerable:
        for one in each["vulns"]:
            fixed = ", ".join(one["fix_versions"]) or "no release yet"
            print(f"{each['name']} {each['version']}: {one['id']}; fixed in {fixed}")
    if vulnerable:
        print(f"{len(vulnerable)} of {len(audited)} packages have known vulnerabilities. To update: .ci/lock")
        return 1
    if len(audited) < len(packages) or not packages:
        left = len(packages) - len(audited)
        print(
            f"Not audited: {left} of {len(packages)} packages could not be looked up: the database may be "
            "out of reach from this machine. Run .ci/audit on one that reaches it."
        )
        return 3
    print(f"No known vulnerabilities in {len(audited)} packages.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
