"""Which vector of a reply belongs to which input, and is it one?

It knows the items of `data`, from base64 or from JSON numbers. It trusts nothing: what does not match is an
`InvalidReply`, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson
from pybase64 import b64decode, b64decode_as_bytearray

from batchscore.rows import InvalidReply

Block: TypeAlias = "npt.NDArray[np.float32]"

#: In a vector of fewer numbers, these may look like halves of larger ones by chance.
FEWEST_FOR_HALVES = 16

#: In a smaller reply, nothing is gained by views of its vectors.
FEWEST_BYTES_FOR_VIEWS = 2**14

#: The first text is sought in a piece of this size, each later one in a short one behind the last text.
FIRST_BYTES, BETWEEN_TEXTS_BYTES = 2**16, 2**6
_MARK = b"\x7f"
_NAME = b'"embedding"'
_BEFORE_TEXT = re.compile(_NAME + rb'[ \t\r\n]*:[ \t\r\n]*"')

#: No model has vectors of more numbers; a small reply could hold millions.
MOST_NUMBERS = 2**16


def load_with_views(body: bytes | memoryview) -> Any:
    """Return the JSON of a reply in which each `embedding` in `data` is a view of the body.

    Making texts of them would take most of the time of reading such a reply, and so would looking for their
    ends. Each text is taken to be as long as the first. That is right if all views are base64, which has no
    quotation marks; else the reply may say something else. Raises `ValueError` if it has another form.
    """
    whole = memoryview(body)
    piece = bytes(whole[:FIRST_BYTES])
    # It is also the value of `object`.
    places = (piece.find(_NAME), piece.find(_NAME, piece.find(_NAME) + 1))
    first = next(filter(None, (_BEFORE_TEXT.match(piece, place) for place in places if place >= 0)), None)
    if first is None:
        raise ValueError("no vector is a text")
    key, at, end, size = first.group(), first.end(), 0, BETWEEN_TEXTS_BYTES
    length = piece.find(b'"', at) - at
    if length <= 0:
        raise ValueError("the first text is empty or too long")
    rest, views = list[bytes](), list[memoryview]()
    while True:
        if at >= len(key):
            rest.append(piece[:at])
            views.append(whole[end + at : end + at + length])
            end, size = end + at + length, BETWEEN_TEXTS_BYTES
        elif end + size < len(body):
            size *= 2
        else:
            break
        piece = bytes(whole[end : end + size])
        at = piece.find(key) + len(key)
    text = _MARK.join([*rest, piece])
    # Nothing else may be read as a mark.
    if b"\\" in text or text.count(_MARK) > len(views):
        raise ValueError("it has characters that are written in another way")
    reply = orjson.loads(text)
    data = reply.get("data") if isinstance(reply, dict) else None
    items = [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []
    mark = _MARK.decode()
    marked = [item for item in items if item.get("embedding") == mark]
    if not len(marked) == len(items) == len(views):  # the name is also elsewhere, or twice in an item
        raise ValueError("not each item has one text")
    for item, view in zip(marked, views, strict=True):
        item["embedding"] = view
    return reply


def in_input_order(data: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the items of `data` in the order of the inputs, by `index`; raises `InvalidReply`.

    Official clients take the order of the list. Gateways leave `index` out, or only 0 (protobuf omits zeros),
    or send 0 for all: then the order of the list counts, if no number contradicts it.
    """
    numbers = [item.get("index") for item in data]
    expected = list(range(len(data)))
    # The types, since a boolean is an integer in Python, and 1.0 equals 1.
    types = set(map(type, numbers))
    if numbers == expected and types == {int}:
        return data
    if types <= {int, type(None)}:
        given = [number for number in numbers if number is not None]
        missing = list(set(expected).difference(given))
        # True only if no number is out of range, nor there twice.
        if len(missing) == len(data) - len(given) <= 1:
            places = [missing[0] if number is None else number for number in numbers]
            by_place = dict(zip(places, data, strict=True))
            return [by_place[place] for place in expected]
        if all(number is None or number == place for place, number in enumerate(numbers)):
            return data
        # The same vector again and again would rather be one item sent several times.
        vectors = [item.get("embedding") for item in data]
        if len(given) == len(data) and not any(given) and any(vector != vectors[0] for vector in vectors):
            return data
    raise InvalidReply("the reply's index numbers do not match the inputs")


def decode_vectors(embeddings: Sequence[Any], dimensions: int | None) -> Block | list[Block | InvalidReply]:
    """Return vectors of any encoding, each `(dimensions,)` float32 and finite, or what is wrong with one.

    They are the rows of one array, which is checked in one call: single checks would double the time. Raises
    `InvalidReply` if none is right, or if they differ in length and no length is known.
    """
    block = decode_together(embeddings)
    if block is not None and dimensions in {None, block.shape[1]} and np.isfinite(block).all():
        return block
    found = [decode_vector(embedding) for embedding in embeddings]
    lengths = {vector.size for vector in found if not isinstance(vector, InvalidReply)}
    wanted = dimensions or max(lengths, default=0)
    wrong = {
        length: InvalidReply(f"a vector has {length} numbers, and the others have {wanted}")
        for length in lengths - {wanted}
    }
    if dimensions is None and wrong:
        raise next(iter(wrong.values()))
    if len(lengths) == len(wrong) == 1:
        reason = InvalidReply(
            f"its vectors have {lengths.pop()} numbers, and those before have {wanted}: perhaps another "
            "model answers, whose vectors belong into another output folder"
        )
        reason.lasting = True
        raise reason
    found = [
        vector if isinstance(vector, InvalidReply) else wrong.get(vector.size, vector) for vector in found
    ]
    right = [vector for vector in found if not isinstance(vector, InvalidReply)]
    block = np.concatenate(right).reshape(len(right), -1) if right else np.empty((0, 0), np.float32)
    finite = np.atleast_1d(np.isfinite(block).all(axis=1)).tolist()
    rows = zip(block, finite, strict=True)
    for place, vector in enumerate(found):
        if not isinstance(vector, InvalidReply):
            row, is_finite = next(rows)
            found[place] = row if is_finite else InvalidReply("a vector is not finite")
    if not any(finite):
        raise next(reason for reason in found if isinstance(reason, InvalidReply))
    return found


def decode_together(embeddings: Sequence[Any]) -> Block | None:
    """Return vectors from base64 as `(rows, dimensions)`, `None` if they must be decoded one by one.

    Texts of equal length without padding can be joined: a single call takes half the time of many.
    """
    kinds = set(map(type, embeddings))
    if kinds not in ({str}, {memoryview}):
        return None
    characters = len(embeddings[0])
    # Four characters are three bytes, and a number is four.
    if (
        not characters
        or characters % 16
        or characters > MOST_NUMBERS * 16 // 3
        or set(map(len, embeddings)) != {characters}
    ):
        return None
    try:
        data = b64decode_as_bytearray((b"" if memoryview in kinds else "").join(embeddings), validate=True)
    except ValueError:
        return None
    if len(data) != len(embeddings) * characters // 4 * 3:
        return None
    return np.frombuffer(data, dtype="<f4").reshape(len(embeddings), -1)


def have_eight_bytes(embeddings: Sequence[Any]) -> bool:
    """Whether vectors from base64 have numbers of eight bytes (float64), which read as twice as many of four.

    The second half of such a number has its sign and exponent: as a number of four bytes it is about 1. Its
    first half has only its three highest bits if the number was one of four bytes, else any size.
    """
    texts = [embedding for embedding in embeddings if isinstance(embedding, (str, memoryview))]
    return bool(texts) and all(map(has_eight_bytes, texts[:8]))


def has_eight_bytes(text: str | memoryview) -> bool:
    """Whether the numbers of one vector have eight bytes."""
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        return False
    if len(data) % 8 or len(data) < 4 * FEWEST_FOR_HALVES:
        return False
    first, second = np.frombuffer(data, "<u4")[::2], np.frombuffer(data, "<f4")[1::2]
    numbers = np.abs(np.frombuffer(data, "<f8"))
    with np.errstate(invalid="ignore"):
        likely = np.all((np.abs(second) >= 2**-4) & (np.abs(second) < 4) | (numbers == 0))
        sizes = np.abs(first.view("<f4"))
        odd = np.mean(~np.isfinite(sizes) | (sizes > 1e4) | ((sizes < 1e-8) & (sizes > 0)))
    varied = bool(np.any(second != second[0]))
    rounded = np.mean(first != 0) > 0.5 and not np.any(first & (2**29 - 1))
    return bool(likely and varied and (rounded or odd > 0.2))


def decode_vector(embedding: Any) -> Block | InvalidReply:
    """Return one vector from base64 or from JSON numbers, or what is wrong with it."""
    wrong = "a vector is neither base64 nor numbers"
    if isinstance(embedding, list) and embedding and all(isinstance(part, list) for part in embedding):
        text = "a vector is a list of vectors, perhaps one for each token; the service must pool them"
        return InvalidReply(text)
    try:
        is_text = isinstance(embedding, (str, memoryview))
        vector = (
            np.frombuffer(b64decode(embedding, validate=True), "<f4") if is_text else np.asarray(embedding)
        )
    except (ValueError, TypeError):
        return InvalidReply(wrong)
    if not vector.size:
        return InvalidReply("a vector is empty")
    if vector.size > MOST_NUMBERS:
        return InvalidReply(f"a vector has {vector.size:,} numbers, more than any model gives")
    if vector.dtype.kind not in "iuf" or vector.ndim != 1:
        return InvalidReply(wrong)
    with np.errstate(over="ignore"):  # a number that is too large becomes infinite, and the caller refuses it
        return vector.astype(np.float32, copy=False)
