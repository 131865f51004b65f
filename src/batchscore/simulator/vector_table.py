"""Which recorded vector does a text have?

It must not know HTTP. A table makes known models, with their published results, rehearsable offline.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class VectorTable:
    """Vectors, `(n, d)` float32, by text."""

    def __init__(self, texts: NDArray[np.str_], vectors: NDArray[np.float32]) -> None:
        if vectors.ndim != 2 or texts.shape != vectors.shape[:1] or texts.dtype.kind != "U":
            raise ValueError("`texts` and `vectors` must be of one length")
        self._vectors = vectors
        self._rows = {str(text): row for row, text in enumerate(texts)}

    @property
    def dimensions(self) -> int:
        """The length of its vectors."""
        return int(self._vectors.shape[1])

    def find(self, text: str) -> NDArray[np.float32] | None:
        """Return the vector of a text; `None` if the table has none."""
        row = self._rows.get(text)
        return None if row is None else self._vectors[row]


def read_table(named: str) -> VectorTable:
    """Return the table in an `.npz` file with `texts` and `vectors`; raises `ValueError` if it is none."""
    try:
        with np.load(Path(named), allow_pickle=False) as file:
            return VectorTable(file["texts"], np.asarray(file["vectors"], dtype=np.float32))
    except (OSError, ValueError, KeyError, BadZipFile, EOFError) as error:
        raise ValueError(f"{named} is not a table of vectors: {error}") from None
