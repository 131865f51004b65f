"""Which vector represents a text, so that texts on the same subject are close?

It must not know requests: text in, unit vector out, the same in every batch.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from batchscore.simulator.settings import WIDEST
from batchscore.simulator.words import COMMON, WORD

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Words in the cache of vectors: 50 MB at 1,536 dimensions. A full cache is cleared.
_CACHED_WORDS = 8192
_NOISE_LENGTH = 1 << 20
_COMMON_WEIGHT = 0.1
_FRAGMENT_WEIGHT = 0.35


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
