"""Which row does a line of results belong to, and is it the answer to what the row sends?

A `custom_id` names the chunk, the row's index in it, and a digest of what the row sends. Services take at
least 64 characters of `[A-Za-z0-9_-]`; some are said to drop an id that begins with a digit.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from binascii import a2b_base64, b2a_base64
from typing import NamedTuple

from batchscore.rows import Prompt

#: Length of a digest in bytes.
DIGEST_BYTES = 16

#: Characters of a chunk's key, and of numbers in ids.
KEY_CHARACTERS = 8
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

#: The two characters of base64 that an id must not have, and those in their place.
FROM_PLAIN = bytes.maketrans(b"+/", b"-_")
TO_PLAIN = bytes.maketrans(b"-_", b"+/")

#: The end of the id of a line that belongs to no row.
PROBE = "probe"

#: Each row has one id: no zeros before a number, and the spare bits of base64 are 0.
_ID = re.compile(r"b([0-9a-z]{8})-(0|[1-9a-z][0-9a-z]{0,4})-([A-Za-z0-9_-]{21}[AQgw])")


class RowId(NamedTuple):
    """What a `custom_id` says."""

    key: str
    row: int
    digest: bytes


def new_key() -> str:
    """Return a key for a new chunk."""
    return "".join(secrets.choice(DIGITS) for _ in range(KEY_CHARACTERS))


def identity_of(*texts: bytes) -> bytes:
    """Return a digest of what all rows of a run have in common: the task, the model, the parameters."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for text in texts:
        digest.update(len(text).to_bytes(8, "big") + text)
    return digest.digest()


def row_digest(identity: bytes, prompt: Prompt) -> bytes:
    """Return a digest of a row and of what it sends. O(bytes)."""
    name = prompt.file.encode("utf-8", "surrogatepass")
    head = b"%d %d " % (len(name), prompt.row)
    return hashlib.blake2b(head + name + prompt.body, key=identity, digest_size=DIGEST_BYTES).digest()


def custom_id(key: str, index: int, digest: bytes) -> str:
    """Return the id of a row's line."""
    number = ""
    rest = index
    while rest or not number:
        rest, digit = divmod(rest, 36)
        number = DIGITS[digit] + number
    return f"b{key}-{number}-{b2a_base64(digest)[:22].translate(FROM_PLAIN).decode()}"


def probe_id(key: str) -> str:
    """Return the id of the line that belongs to no row."""
    return f"b{key}-{PROBE}"


def read_id(text: object) -> RowId | None:
    """Return what a `custom_id` says, `None` if it is none of ours."""
    found = _ID.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    key, index, digest = found.groups()
    return RowId(key, int(index, 36), a2b_base64(digest.encode().translate(TO_PLAIN) + b"=="))


def own_row(name: object, key: str, digests: bytes) -> int | None:
    """Return the index of the row that a `custom_id` names, `None` if it is none of the chunk `key`.

    `digests` are those of all rows of the chunk.
    """
    row = read_id(name)
    if row is None or row.key != key:
        return None
    start = row.row * DIGEST_BYTES
    return row.row if digests[start : start + DIGEST_BYTES] == row.digest else None
