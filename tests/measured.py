"""How much memory does a command take at most?

The peak that the system reports for a process begins with that of its parent, so a large test process must
not start what is measured.
"""

from __future__ import annotations

#: Runs a command and prints the peak memory of the largest process in it, in kilobytes.
MEASURE = (
    "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode; "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
)
