"""How many examples does Hypothesis try: few by default, all of them in CI?

HYPOTHESIS_PROFILE=ci, or CI=true, selects all of them on a developer's machine too.
`make quick` takes the fewest.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

#: A test must not fail because the machine is busy.
BOUNDS = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
# The first example is the simplest one, and the others are random.
settings.register_profile("quick", max_examples=2, **BOUNDS)
settings.register_profile("local", max_examples=3, **BOUNDS)
settings.register_profile("ci", max_examples=100, **BOUNDS)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") == "true" else "local")
settings.load_profile(PROFILE)
if PROFILE != "ci":
    # Hypothesis looks for constants in all loaded modules of ours, which takes as long as hundreds of tests.
    providers._get_local_constants = lambda: providers._local_constants


def examples(in_ci: int) -> int:
    """Return the `max_examples` of a test that needs more or fewer than the profile's default."""
    return max(1, in_ci * settings().max_examples // 100)
