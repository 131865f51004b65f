"""How long does an engine that must stop wait, and how many equal refusals stop a run?"""

from __future__ import annotations

#: Seconds that requests in flight have to finish after the run is stopped.
DRAIN_SECONDS = 20.0

#: The same refusal of this many rows, with no answer in between, may be a fault of every request.
SAME_REFUSALS = 20
