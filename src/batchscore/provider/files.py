"""How do files of requests get to a service, and files of results back?

It knows names, sizes and bytes, not what is in them. Uploading twice is harmless: a file that no batch uses
costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai

from batchscore.provider.batch_object import fields_of, text_of, whole
from batchscore.provider.client import (
    CALL_SECONDS,
    UPLOAD_SECONDS,
    CallFailed,
    ControlPlane,
    NotThere,
    Unknown,
)

#: Names of states (Azure knows more than OpenAI), in lower case. OpenAI calls the field deprecated, but it is
#: the only sign that a file can be used.
USABLE = frozenset({"processed", "uploaded", ""})
BROKEN = frozenset({"error", "deleted", "deleting"})

#: Bytes of a download that are written at a time.
PIECE_BYTES = 2**20

#: Seconds between two looks at a file that is not processed yet.
LOOK_SECONDS = 2.0
#: A file may be unknown for a moment after its upload, and takes minutes to be processed.
UNKNOWN_LOOKS = 10
MOST_LOOKS = 900


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file at the service. `bytes` is 0 if it does not say."""

    id: str
    name: str
    bytes: int
    status: str


def uploaded_file(found: Any) -> UploadedFile:
    """Return a file as its object says; raises `Unknown` if the reply was something else."""
    given = fields_of(found)
    name, status = text_of(given.get("filename")), text_of(given.get("status")).lower()
    file = UploadedFile(text_of(given.get("id")), name, whole(given.get("bytes")), status)
    if not file.id:
        raise Unknown("the look at a file", why="the reply is not a file")
    return file


async def upload(
    plane: ControlPlane, path: Path, name: str, *, purpose: str, expires_seconds: int | None
) -> UploadedFile:
    """Upload a file; `name` must end in .jsonl, and be of this file alone. Raises `CallFailed`.

    If replies are lost, it is uploaded again, and the copies are removed.
    """
    calls = 0
    expiry: Any = openai.omit
    if expires_seconds is not None:
        expiry = {"anchor": "created_at", "seconds": expires_seconds}

    async def call(headers: Mapping[str, str]) -> UploadedFile:
        nonlocal calls
        calls += 1
        # As a path, the SDK would read all of it into memory.
        with path.open("rb") as content:
            found = await plane.client.files.create(
                # Azure refuses a part without a type.
                file=(name, content, "application/jsonl"),
                purpose=purpose,  # type: ignore[arg-type]  # compatible services have their own
                expires_after=expiry,
                extra_headers=headers,
                timeout=UPLOAD_SECONDS,
            )
        return uploaded_file(found)

    file = await plane.repeat("the upload", call)
    if calls > 1:
        # Copies cost nothing, and most expire.
        with suppress(CallFailed):
            for copy in await find_uploads(plane, name, purpose=purpose):
                if copy.id != file.id:
                    await delete(plane, copy.id)
    return file


async def find_uploads(plane: ControlPlane, name: str, *, purpose: str) -> list[UploadedFile]:
    """Return the files of this name, newest first; raises `CallFailed`."""
    return [each for each in await list_files(plane, purpose=purpose) if each.name == name]


async def list_files(plane: ControlPlane, *, purpose: str) -> list[UploadedFile]:
    """Return the files of a purpose, newest first; raises `CallFailed`."""

    async def call(headers: Mapping[str, str]) -> list[UploadedFile]:
        pages = plane.client.files.list(purpose=purpose, extra_headers=headers)
        return [uploaded_file(each) async for each in pages if getattr(each, "purpose", purpose) == purpose]

    return await plane.repeat("the list of files", call)


async def import_file(plane: ControlPlane, name: str, url: str, *, purpose: str) -> UploadedFile:
    """Let Azure OpenAI fetch a file from a URL, which is secret. Raises `CallFailed`, which does not show it.

    If the reply is lost, look for the file by its name.
    """

    async def call(headers: Mapping[str, str]) -> UploadedFile:
        body = {"purpose": purpose, "filename": name, "content_url": url}
        found = await plane.client.post(
            "/files/import", body=body, cast_to=object, options={"headers": headers}
        )
        return uploaded_file(found)

    return await plane.once("the import of the file", call)


async def wait_until_usable(
    plane: ControlPlane, file: UploadedFile, usable: frozenset[str] = USABLE
) -> UploadedFile:
    """Wait until a file is in a state of `usable`; the returned one may be broken. Raises `CallFailed`."""
    looks = unknown = 0
    while file.status not in usable | BROKEN:
        looks += 1
        if looks > MOST_LOOKS:
            raise Unknown("the processing of the file")
        await plane.sleep(LOOK_SECONDS)
        try:
            file = await look(plane, file.id)
        except NotThere:
            unknown += 1
            if unknown > UNKNOWN_LOOKS:
                raise
    return file


async def look(plane: ControlPlane, file: str) -> UploadedFile:
    """Return one file as it is now. Raises `CallFailed`."""

    async def call(headers: Mapping[str, str]) -> UploadedFile:
        return uploaded_file(await plane.client.files.retrieve(file, extra_headers=headers))

    return await plane.repeat("a look at a file", call)


async def delete(plane: ControlPlane, file: str) -> bool:
    """Delete a file; False if there was none. Raises `CallFailed`."""
    delete_file = plane.client.files.delete
    try:
        await plane.repeat("the deletion of a file", lambda headers: delete_file(file, extra_headers=headers))
    except NotThere:
        return False
    return True


async def download(plane: ControlPlane, file: str, path: Path) -> None:
    """Write a file's content to `path`; a part that is there already is resumed. Raises `CallFailed`.

    Services close the connection of large downloads, so each attempt asks for what is missing. The size of
    the file itself shows whether it is complete, for not every reply states its length.
    """
    size = (await look(plane, file)).bytes

    async def call(headers: Mapping[str, str]) -> None:
        await download_rest(plane, file, path, headers)
        if (have := size_of(path)) < size:
            raise Unknown(f"the download: {have:,} of {size:,} bytes arrived")

    await plane.repeat("the download", call)


async def download_rest(plane: ControlPlane, file: str, path: Path, headers: Mapping[str, str]) -> None:
    """Append what is missing of a file; raises `Unknown` if the connection closed too early."""
    have = size_of(path)
    wanted = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        async with plane.client.files.with_streaming_response.content(
            file, extra_headers={**headers, **wanted}, timeout=CALL_SECONDS
        ) as reply:
            given = reply.headers
            resumed = reply.status_code == 206
            is_encoded = given.get("content-encoding", "identity") != "identity"
            if resumed and (first_byte(given.get("content-range", "")) != have or is_encoded):
                discard(path)
                raise Unknown("the download: the service sent another part than asked for")
            await append(path, reply.iter_bytes(), keep=resumed)
    except openai.APIStatusError as error:
        if error.status_code != 416:  # nothing is missing
            raise


def size_of(path: Path) -> int:
    """Return the size of a file, 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def discard(path: Path) -> None:
    """Forget what arrived of a file."""
    path.unlink(missing_ok=True)


def first_byte(header: str) -> int:
    """Return the first byte that a Content-Range states, -1 if it states none."""
    first = header.removeprefix("bytes ").partition("-")[0].strip()
    return int(first) if first.isascii() and first.isdecimal() else -1


async def append(path: Path, pieces: AsyncIterator[bytes], *, keep: bool) -> None:
    """Write pieces to the end of a file, or to a new one; what arrived before a failure stays."""
    waiting: list[bytes] = []
    with path.open("ab" if keep else "wb") as file:
        try:
            async for piece in pieces:
                waiting.append(piece)
                if sum(map(len, waiting)) >= PIECE_BYTES:
                    await asyncio.to_thread(file.writelines, waiting)
                    waiting = []
        except (OSError, openai.APIError):
            raise
        except Exception as error:
            # The HTTP library's own errors; its name differs between versions of the SDK.
            raise Unknown(f"the download broke off ({type(error).__name__})") from None
        finally:
            file.writelines(waiting)
