"""How is the simulator configured: which settings, units and bounds?

It must not know click or aiohttp: each door reads this one table in its own way.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from math import inf
from typing import Any

from batchscore.simulator.reply_shapes import check_shape
from batchscore.simulator.too_long import check_wording

#: The width of text-embedding-3-large, the widest of the simulated models.
WIDEST = 3072


def _setting(default: Any, help_text: str, *, low: float = -inf, high: float = inf) -> Any:
    many = isinstance(default, tuple)
    # Only rates have no default.
    kind = str if many else float if default is None else type(default)
    # A share, which is at most 1, is never in seconds.
    metavar = "NAME" if kind is str else "SECONDS" if "econds" in help_text and high > 1 else "N"
    facts = {"help": help_text, "low": low, "high": high, "kind": kind, "many": many, "metavar": metavar}
    return field(default=default, metadata=facts)


@dataclass(frozen=True, kw_only=True)
class SimulatorSettings:
    """The settings of a simulator. ValueError names a setting that is out of its bounds.

    Each field's metadata: `help`, `low`, `high`, `kind` (int, float, str, bool), `many` (a tuple of
    texts; on a command line repeatable and comma-separated) and `metavar`.
    It has over 15 fields because each is one flag of `batchscore simulate`.
    """

    port: int = _setting(0, "Port on 127.0.0.1. Default: 0, any free port.", low=0, high=65535)
    key: str = _setting("simulator", "The API key that clients must send.")
    token: tuple[str, ...] = _setting((), "A bearer token to accept besides the key.")
    deployments: tuple[str, ...] = _setting(
        (), "Names of the deployments to serve, separated by commas. Default: any name."
    )
    dimensions: int = _setting(
        1536, "Length of a vector if the request does not set one.", low=1, high=WIDEST
    )
    rpm: float | None = _setting(None, "Requests per minute of each deployment. Default: no limit.", low=1)
    tpm: float | None = _setting(None, "Tokens per minute of each deployment. Default: no limit.", low=1)
    burst_seconds: float = _setting(
        10.0, "Largest burst: the number of seconds whose rate may arrive at once.", low=0.01, high=60
    )
    charge_refused: bool = _setting(
        default=True, help_text="Count a refused request against the limit, as the service does."
    )
    latency: float = _setting(0.0, "Seconds before each response.", low=0)
    latency_jitter: float = _setting(0.0, "Maximum of a random latency, in seconds, that is added.", low=0)
    fail_500: float = _setting(0.0, "Share of requests answered with status 500.", low=0, high=1)
    fail_503: float = _setting(0.0, "Share of requests answered with status 503.", low=0, high=1)
    fail_429: float = _setting(0.0, "Share of requests answered with status 429 at random.", low=0, high=1)
    reset: float = _setting(0.0, "Share of requests whose connection is reset.", low=0, high=1)
    hang: float = _setting(0.0, "Share of requests that hang for --hang-seconds.", low=0, high=1)
    truncate: float = _setting(0.0, "Share of responses that break off half-way.", low=0, high=1)
    broken_answers: float = _setting(
        0.0,
        "Share of chat answers that are not JSON, have a wrong value, are cut off, in a block of code, or "
        "refused, a fifth each.",
        low=0,
        high=1,
    )
    hang_seconds: float = _setting(600.0, "Seconds that a hanging request hangs.", low=0)
    seed: int = _setting(0, "Seed of random faults and jitter.", low=0)
    max_inputs: int = _setting(2048, "Maximum number of inputs in one embeddings request.", low=1)
    context_tokens: int = _setting(
        128_000, "Context length of the completions and chat models, in tokens.", low=16
    )
    wording: str = _setting(
        "openai",
        "Service in whose words an input that is too long is refused, such as vllm, gemini or mistral.",
    )
    shape: str = _setting(
        "",
        "Form of all replies with status 200, such as index_missing or usage_stray. Default: correct ones.",
    )
    answers: str = _setting(
        "", "JSON file with the right labels of texts, and how often and how each model is wrong."
    )
    vectors: str = _setting("", "File .npz with recorded vectors: `texts` and `vectors`.")
    batch_seconds: float = _setting(2.0, "Seconds that a batch of the Batch API takes.", low=0)
    finetune_seconds: float = _setting(2.0, "Seconds that a fine-tuning job takes.", low=0)
    record_last: int = _setting(0, "Number of requests of each deployment to record. Default: 0.", low=0)
    exit_with_parent: bool = _setting(default=False, help_text="Exit when standard input is closed.")

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            low, high = item.metadata["low"], item.metadata["high"]
            if item.metadata["many"]:
                names = tuple(name.strip() for text in value for name in text.split(",") if name.strip())
                object.__setattr__(self, item.name, names)
            elif isinstance(value, (int, float)) and not low <= value <= high:
                bounds = f"at least {low}" if high == inf else f"between {low} and {high}"
                raise ValueError(f"--{item.name.replace('_', '-')} must be {bounds}, not {value}")
        check_wording(self.wording)
        check_shape(self.shape or None)
        if not self.key:
            raise ValueError("--key must not be empty")
        shares = self.fail_500 + self.fail_503 + self.fail_429 + self.reset + self.hang + self.truncate
        shares += self.broken_answers
        if shares > 1:
            raise ValueError(f"the shares of faults add up to {shares:g}; they must not exceed 1")
