"""What went wrong on a disk or in a store, in words that hold no secret, and what can the user do?

Two borders: `explain_store_errors` turns what pyarrow raises into `StoreFailure`, an `OSError`;
`explain_errors` turns every `OSError` of writing our own files into `OutputError`. A store's library reports
all in one text, which may hold signed addresses: only the codes in it are used and repeated.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from batchscore.errors import OutputError
from batchscore.stores.address import Place, StoredPath

#: Where each store's credentials come from, for a person.
CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the machine's role",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, `gcloud auth application-default login`, or the machine's account",
    "abfss": "AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or an identity with a Storage Blob Data role",
}

#: The variable that overrides the service's address.
ENDPOINTS = {
    "s3": "AWS_ENDPOINT_URL",
    "gs": "STORAGE_EMULATOR_HOST",
    "abfss": "AZURE_STORAGE_SERVICE_ENDPOINT",
}

_GONE = ("it does not exist", "check the path, and that nothing removes it during the run")
_NO_BUCKET = ("the bucket or container does not exist", "check its name, or create it")
_REFUSED = ("the store refuses access", "check the rights of these credentials: {credentials}")
_NO_IDENTITY = ("no credentials were found", "set one of these: {credentials}")
_UNREACHED = ("the store cannot be reached", "check the network, the address and {endpoint}")
_BUSY = ("the store is busy or failing", "wait a while")
_REGION = ("the bucket is in another region", "set AWS_REGION to the bucket's region")

#: Codes in texts of AWS's, Azure's and Google's libraries → what happened, what to do; the first counts.
_CAUSES = (
    (r"NO_SUCH_BUCKET|\[ContainerNotFound\]|\[FilesystemNotFound\]|\[ResourceNotFound\]", _NO_BUCKET),
    (r"HTTP status 301|PermanentRedirect|AuthorizationHeaderMalformed", _REGION),
    (r"Failed to get token|AuthenticationException|Could not load credentials", _NO_IDENTITY),
    (r"OAuth2|oauth2|Default Credentials|metadata\.google", _NO_IDENTITY),
    (r"ACCESS_DENIED|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|EXPIRED_TOKEN", _REFUSED),
    (r"HTTP status 40[13]\b|\] 40[13] |PERMISSION_DENIED|UNAUTHENTICATED|FORBIDDEN", _REFUSED),
    (r"NETWORK_CONNECTION|new connection|resolve host|curlCode|CURL error|Couldn't connect", _UNREACHED),
    (r"SLOW_DOWN|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|HTTP status 5\d\d|\] 5\d\d ", _BUSY),
    (r"UNAVAILABLE|DEADLINE_EXCEEDED|timed? ?out", _UNREACHED),
    (
        r"No such file|NO_SUCH_KEY|RESOURCE_NOT_FOUND|\[BlobNotFound\]|HTTP status 404|\] 404 |NOT_FOUND",
        _GONE,
    ),
)
_CODE = re.compile(r"AWS Error ([A-Z_]+)|Azure Error: \[(\w+)\]|\bStatus\(([A-Z_]+):|HTTP status (\d{3})")

_OTHER_FOLDER = "choose another output folder"

#: The system's error → what happened, and what to do.
_SYSTEM_CAUSES = {
    errno.ENOSPC: ("the disk is full", "free some space"),
    errno.EDQUOT: ("the disk quota is used up", "free some space or raise the quota"),
    errno.EFBIG: (
        "the file is larger than this system allows",
        "lower the rows per part, or raise `ulimit -f`",
    ),
    errno.EROFS: ("the file system is read-only", "choose an output folder on a writable file system"),
    errno.EACCES: ("no permission to write there", f"{_OTHER_FOLDER}, or change its permissions"),
    errno.EPERM: ("the system does not allow it", f"{_OTHER_FOLDER}, or change its permissions"),
    errno.EIO: ("the device failed", "check the disk or the mount"),
    errno.ESTALE: ("the network mount is stale", "mount it again"),
    errno.ETIMEDOUT: ("the network mount does not answer", "check the mount"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter output path, or shorten the input's name"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", _OTHER_FOLDER),
    errno.EEXIST: ("a part of the path is a file, not a folder", _OTHER_FOLDER),
    errno.EISDIR: ("a folder has that name", f"move it away, or {_OTHER_FOLDER}"),
    errno.ESPIPE: ("it is a pipe or a device, not a file", f"remove it, or {_OTHER_FOLDER}"),
    errno.ENOENT: ("the folder cannot exist, or it was removed during the run", _OTHER_FOLDER),
    errno.ELOOP: ("it is a link, and nothing in an output is read or written through one", "remove the link"),
    errno.EMFILE: ("too many open files", "raise `ulimit -n`"),
    errno.ENFILE: ("too many open files on this machine", "close other programs"),
}


#: The same for reading, if it is another cause; nothing is wrong with the folder's place then.
_READING = {"read", "find", "list"}
_READ_CAUSES = {
    errno.EACCES: ("no permission to read it", "check its owner and mode, and those of its folder"),
    errno.EPERM: ("the system does not allow it", "check its owner and mode, and those of its folder"),
    errno.ENOENT: ("it does not exist, or was removed meanwhile", "check the path"),
}


class StoreFailure(OSError):  # noqa: N818 - named for what it is, as the tree in `errors` is
    """A store that failed: `reason` and `advice` are for a person, `strerror` holds both.

    It has an `errno` as the system's own errors have, so code that expects an `OSError` handles it.
    """

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(errno.EIO, f"{reason}; {advice}")
        self.reason = reason
        self.advice = advice


def store_failure(place: StoredPath, text: str) -> StoreFailure:
    """Return the failure that a library's text describes."""
    for codes, (reason, advice) in _CAUSES:
        if re.search(codes, text):
            credentials, endpoint = CREDENTIALS[place.scheme], ENDPOINTS[place.scheme]
            return StoreFailure(reason, advice.format(credentials=credentials, endpoint=endpoint))
    code = _CODE.search(text)
    named = f" with {next(filter(None, code.groups()))}" if code else ""
    return StoreFailure(f"the store failed{named}", "check the same path with the store's own tools")


@contextmanager
def explain_store_errors(place: StoredPath) -> Iterator[None]:
    """Turn what pyarrow raises into `StoreFailure`, or `FileNotFoundError` with the URI."""
    import pyarrow as pa  # noqa: PLC0415 - only users of a store need it

    try:
        yield
    except StoreFailure:
        raise
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, _GONE[0], str(place)) from None
    except (OSError, pa.ArrowException) as error:
        # Not chained: a traceback would show the text, and with it any secret in the address.
        raise store_failure(place, str(error)) from None


@contextmanager
def explain_errors(path: Place, action: str) -> Iterator[None]:
    """Turn the `OSError` of an `action` on a path, such as "write", into `OutputError` with advice."""
    try:
        yield
    except OSError as error:
        if isinstance(error, StoreFailure):
            reason, advice = error.reason, error.advice
        else:
            reads, number = action in _READING, error.errno or 0
            way = "read" if reads else "written"
            other = (error.strerror or str(error), f"check that the folder can be {way}")
            known = _READ_CAUSES.get(number) if reads else None
            reason, advice = known or _SYSTEM_CAUSES.get(number, other)
        raise OutputError(
            f"cannot {action} {path}: {reason}; {advice}, then run the same command again"
        ) from error
