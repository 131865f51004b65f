"""Is an embeddings request valid, and which vectors reply to it?

It must not know HTTP, limits nor network faults.
Rules: reference of `POST /embeddings` in the openai SDK's `types/embedding_create_params.py`, seen 2026.
"""

from __future__ import annotations

import base64
import math
import random
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from batchscore.simulator.error_replies import (
    REFERENCE,
    ServiceReply,
    Surface,
    content_filtered,
    invalid_request,
    too_many_elements,
    unknown_parameter,
    wrong_type,
)
from batchscore.simulator.settings import WIDEST, SimulatorSettings
from batchscore.simulator.too_long import too_long
from batchscore.simulator.words import COMMON, CONTENT_FILTER_TRIGGER, WORD, count_tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_TOKENS_PER_INPUT = 8192
MAX_TOKENS_PER_REQUEST = 300_000
_KNOWN = frozenset({"input", "model", "encoding_format", "dimensions", "user"})
#: A parameter that only Azure has.
_AZURES = frozenset({"input_type"})
#: Words in the cache of vectors: 50 MB at 1,536 dimensions. A full cache is cleared.
_CACHED_WORDS = 8192
_NOISE_LENGTH = 1 << 20
_COMMON_WEIGHT = 0.1
_FRAGMENT_WEIGHT = 0.35


@dataclass(frozen=True)
class EmbeddingsRequest:
    """A valid request: its texts in order, the vectors' length and encoding, and all its tokens."""

    texts: list[str]
    dimensions: int
    as_base64: bool
    tokens: int


def check_embeddings(
    body: dict[str, Any], *, name: str, surface: Surface, settings: SimulatorSettings
) -> tuple[int, EmbeddingsRequest | ServiceReply]:
    """Return the tokens to charge, and the valid request or the service's error reply."""
    texts, counts = _count_inputs(body.get("input"))
    charged = sum(counts)
    if texts is None:
        return charged, invalid_request(f"'$.input' is invalid. {REFERENCE}")
    for parameter in body:
        if parameter not in _KNOWN and (surface is Surface.OPENAI or parameter not in _AZURES):
            return charged, unknown_parameter(surface, "embeddings", parameter)
    return charged, (
        _check_size(counts, surface=surface, settings=settings)
        or _check_options(body, name)
        or (content_filtered(surface) if any(CONTENT_FILTER_TRIGGER in text for text in texts) else None)
        or EmbeddingsRequest(
            texts=texts,
            dimensions=body.get("dimensions") or settings.dimensions,
            as_base64=body.get("encoding_format") == "base64",
            tokens=charged,
        )
    )


def _count_inputs(value: Any) -> tuple[list[str] | None, list[int]]:
    """Return the texts (None if one is invalid) and the tokens of each."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or not value:
        return None, []
    if all(type(item) is int for item in value):
        value = [value]
    texts: list[str] = []
    counts: list[int] = []
    valid = True
    for item in value:
        if isinstance(item, str) and item:
            texts.append(item)
            counts.append(count_tokens(item))
        elif isinstance(item, list) and item and all(type(token) is int for token in item):
            texts.append(" ".join(map(str, item)))
            counts.append(len(item))
        else:
            valid = False
    return (texts if valid else None), counts


def _check_size(counts: list[int], *, surface: Surface, settings: SimulatorSettings) -> ServiceReply | None:
    limit = settings.max_inputs
    if len(counts) > limit:
        if surface is Surface.AZURE:
            return invalid_request(f"Too many inputs. The max number of inputs is {limit}.")
        return too_many_elements("input", limit, len(counts))
    largest = max(counts)
    if largest > MAX_TOKENS_PER_INPUT:
        place = counts.index(largest)
        return ServiceReply(
            *too_long(settings.wording, limit=MAX_TOKENS_PER_INPUT, tokens=largest, place=place)
        )
    if sum(counts) > MAX_TOKENS_PER_REQUEST:
        return invalid_request(
            f"Requested {sum(counts)} tokens, max {MAX_TOKENS_PER_REQUEST} tokens per request",
            code="max_tokens_per_request",
            kind="max_tokens_per_request",
        )
    return None


def _check_options(body: dict[str, Any], name: str) -> ServiceReply | None:
    encoding = body.get("encoding_format", "float")
    if encoding not in ("float", "base64"):
        return invalid_request(f"'{encoding}' is not one of ['float', 'base64'] - 'encoding_format'")
    if not isinstance(body.get("user", ""), str):
        return wrong_type("user", "a string", body["user"])
    dimensions = body.get("dimensions")
    if dimensions is None:
        return None
    if type(dimensions) is not int:
        return wrong_type("dimensions", "an integer", dimensions)
    if "ada-002" in name:
        return invalid_request("This model does not support specifying dimensions.")
    if not 1 <= dimensions <= WIDEST:
        return invalid_request(
            f"Invalid value for 'dimensions' = {dimensions}. Must be between 1 and {WIDEST}."
        )
    return None


def encode_item(index: int, vector: NDArray[np.float32], *, as_base64: bool) -> bytes:
    """Return one element of `data`, without Python work per number."""
    if as_base64:
        encoded = b'"' + base64.b64encode(vector.astype("<f4", copy=False).tobytes()) + b'"'
    else:
        encoded = orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY)
    return b'{"object":"embedding","index":%d,"embedding":%b}' % (index, encoded)


def write_reply(items: list[bytes], *, model: str, tokens: int) -> ServiceReply:
    """Return the reply with these elements of `data`."""
    tail = orjson.dumps({"model": model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})
    body = b'{"object":"list","data":[' + b",".join(items) + b"]," + tail[1:]
    return ServiceReply(200, body, tokens=tokens)


def spoil_items(
    fault: str | None, items: list[bytes], vectors: Callable[[int], NDArray[np.float32]], *, as_base64: bool
) -> list[bytes]:
    """Return the elements of `data` with a scripted fault; see `Behaviour.vectors`."""
    last = len(items) - 1
    if fault == "shuffled":
        shuffled = items[1:] + items[:1]
        random.Random(last).shuffle(shuffled)  # noqa: S311 - not for secrets
        return shuffled if shuffled != items else items[::-1]
    if fault == "missing":
        return items[:-1]
    if fault == "duplicated":
        return [*items[:-1], items[0]] if last else [*items, items[0]]
    if fault == "wrong_dimension":
        return [*items[:-1], encode_item(last, vectors(last)[:-1], as_base64=as_base64)]
    if fault == "not_finite":
        broken = vectors(last).copy()
        broken[0] = np.nan
        return [*items[:-1], encode_item(last, broken, as_base64=as_base64)]
    return items


def _make_noise() -> NDArray[np.float32]:
    """Return the random signs that all features are slices of. Different slices are uncorrelated."""
    # The raw stream of a bit generator is fixed forever by NumPy's compatibility policy.
    raw = np.random.PCG64(20240229).random_raw(_NOISE_LENGTH // 64)
    bits = np.unpackbits(np.asarray(raw, dtype="<u8").view(np.uint8))
    return bits.astype(np.float32) * 2 - 1


class Vectors:
    """Signed random projections of a text's words and of their three-letter fragments.

    As with the real models, a shorter vector is the start of a longer one, scaled to unit length.
    Throughput with cached words: about 20,000 short texts per second at 1,536 dimensions.
    """

    def __init__(self, dimensions: int) -> None:
        self._noise = _make_noise()
        self._slots: dict[str, int] = {}
        self._words: NDArray[np.float32] = np.empty((_CACHED_WORDS, dimensions), dtype=np.float32)

    def embed(self, text: str, dimensions: int) -> NDArray[np.float32]:
        """Return the vector of unit length, of shape `(dimensions,)`."""
        if dimensions > self._words.shape[1]:
            self._slots.clear()
            self._words = np.empty((_CACHED_WORDS, dimensions), dtype=np.float32)
        counts = Counter(WORD.findall(text.lower()))
        if not counts:
            counts[text] = 1
        if len(counts) > _CACHED_WORDS:
            counts = Counter(dict(islice(counts.items(), _CACHED_WORDS)))
        if len(self._slots) + len(counts) > _CACHED_WORDS:
            self._slots.clear()
        slots = self._slots
        rows = [slots[word] if word in slots else self._cache_word(word) for word in counts]
        weights = np.array(
            [
                (_COMMON_WEIGHT if word in COMMON else 1.0) * (1.0 if n == 1 else 1.0 + math.log(n))
                for word, n in counts.items()
            ],
            dtype=np.float32,
        )
        # einsum adds word by word: BLAS may split the sum differently on another machine.
        vector: NDArray[np.float32] = np.einsum("i,ij->j", weights, self._words[:, :dimensions][rows])
        length = math.sqrt(float(np.sum(np.square(vector, dtype=np.float64))))
        if length < 1e-6:  # opposite words can cancel out at very few dimensions
            vector = self._feature(text, dimensions).copy()
            length = math.sqrt(dimensions)
        vector /= np.float32(length)
        return vector

    def _cache_word(self, word: str) -> int:
        width = self._words.shape[1]
        slot = len(self._slots)
        row = self._words[slot]
        row[:] = self._feature(word, width)
        marked = f"<{word}>"
        # Scripts without spaces form long "words" of short meaningful pieces.
        size = 3 if word.isascii() else 2
        fragments = [marked[at : at + size] for at in range(max(1, len(marked) - size + 1))]
        share = _FRAGMENT_WEIGHT if word.isascii() else 2 * _FRAGMENT_WEIGHT
        for fragment in fragments:
            row += np.float32(share) * self._feature("#" + fragment, width)
        # Divide by the expected length per column, which does not depend on the width.
        row /= np.float32(math.sqrt(1 + len(fragments) * share * share))
        self._slots[word] = slot
        return slot

    def _feature(self, feature: str, width: int) -> NDArray[np.float32]:
        digest = zlib.crc32(feature.encode("utf-8", "surrogatepass"))
        # Knuth's multiplication spreads the values: crc32 of short texts differs in few bits.
        start = (digest * 2654435761 % (1 << 32)) % (_NOISE_LENGTH - WIDEST)
        return self._noise[start : start + width]
