"""Which vector stands for a text, so that texts on one subject are near each other?

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

#: Words whose vectors are kept; 50 MB at 1,536 dimensions. When full it starts anew.
_KEPT_WORDS = 8192
_NOISE_LENGTH = 1 << 20
_COMMON_WEIGHT = 0.1
_FRAGMENT_WEIGHT = 0.35


def _make_noise() -> NDArray[np.float32]:
    """Give the signs from which all features are cut: two windows at different places are uncorrelated."""
    # The raw stream of a bit generator is fixed for ever by NumPy's compatibility policy.
    raw = np.random.PCG64(20240229).random_raw(_NOISE_LENGTH // 64)
    bits = np.unpackbits(np.asarray(raw, dtype="<u8").view(np.uint8))
    return bits.astype(np.float32) * 2 - 1


class Vectors:
    """Signed random projections of the words of a text and their three-letter fragments.

    A shorter vector is the beginning of a longer one, brought to unit length, as with the real models.
    About 20,000 short texts a second at 1,536 dimensions once their words have been seen.
    """

    def __init__(self, dimensions: int) -> None:
        self._noise = _make_noise()
        self._slots: dict[str, int] = {}
        self._words: NDArray[np.float32] = np.empty((_KEPT_WORDS, dimensions), dtype=np.float32)

    def of(self, text: str, dimensions: int) -> NDArray[np.float32]:
        """Give the `(dimensions,)` vector of unit length."""
        if dimensions > self._words.shape[1]:
            self._slots.clear()
            self._words = np.empty((_KEPT_WORDS, dimensions), dtype=np.float32)
        counts = Counter(WORD.findall(text.lower()))
        if not counts:
            counts[text] = 1
        if len(counts) > _KEPT_WORDS:
            counts = Counter(dict(islice(counts.items(), _KEPT_WORDS)))
        if len(self._slots) + len(counts) > _KEPT_WORDS:
            self._slots.clear()
        slots = self._slots
        places = [slots[word] if word in slots else self._learn(word) for word in counts]
        weights = np.array(
            [
                (_COMMON_WEIGHT if word in COMMON else 1.0) * (1.0 if n == 1 else 1.0 + math.log(n))
                for word, n in counts.items()
            ],
            dtype=np.float32,
        )
        # Added word by word: BLAS may split a sum otherwise on another machine.
        vector: NDArray[np.float32] = np.einsum("i,ij->j", weights, self._words[:, :dimensions][places])
        length = math.sqrt(float(np.sum(np.square(vector, dtype=np.float64))))
        if length < 1e-6:  # opposed words can cancel out at a handful of dimensions
            vector = self._feature(text, dimensions).copy()
            length = math.sqrt(dimensions)
        vector /= np.float32(length)
        return vector

    def _learn(self, word: str) -> int:
        width = self._words.shape[1]
        place = len(self._slots)
        row = self._words[place]
        row[:] = self._feature(word, width)
        marked = f"<{word}>"
        # Scripts without spaces make long "words" of short meaningful pieces.
        size = 3 if word.isascii() else 2
        fragments = [marked[at : at + size] for at in range(max(1, len(marked) - size + 1))]
        share = _FRAGMENT_WEIGHT if word.isascii() else 2 * _FRAGMENT_WEIGHT
        for fragment in fragments:
            row += np.float32(share) * self._feature("#" + fragment, width)
        # Its expected length, a column: the same whatever the width.
        row /= np.float32(math.sqrt(1 + len(fragments) * share * share))
        self._slots[word] = place
        return place

    def _feature(self, feature: str, width: int) -> NDArray[np.float32]:
        digest = zlib.crc32(feature.encode("utf-8", "surrogatepass"))
        # Spread by a multiplication (Knuth): crc32 of short texts differs in few bits.
        start = (digest * 2654435761 % (1 << 32)) % (_NOISE_LENGTH - WIDEST)
        return self._noise[start : start + width]
