"""What went wrong at an object store, in words that hold no secret?

The libraries below tell everything in one text, which may hold signed addresses; only the codes in it are
looked at, and nothing of it is repeated but such a code.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from batchscore.stores.address import StoredPath

#: Where each store's credentials come from, for a person.
CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the machine's role",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, `gcloud auth application-default login`, or the machine's account",
    "abfss": "AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or an identity with a Storage Blob Data role",
}

#: What names the service's address, where it is not the usual one.
ENDPOINTS = {
    "s3": "AWS_ENDPOINT_URL",
    "gs": "STORAGE_EMULATOR_HOST",
    "abfss": "AZURE_STORAGE_SERVICE_ENDPOINT",
}

_GONE = ("it is not there", "see that the path is right and that nobody removes it meanwhile")
_NO_BUCKET = ("there is no such bucket or container", "see that its name is right, and make it first")
_REFUSED = ("the store refuses access", "see that these may do it: {credentials}")
_NO_IDENTITY = ("nobody to sign in as was found", "give one of these: {credentials}")
_UNREACHED = ("the store cannot be reached", "see the network, the address and {endpoint}")
_BUSY = ("the store is busy or failing", "wait a while")
_REGION = ("the bucket is in another region", "set AWS_REGION to the bucket's")

#: Codes in what AWS's, Azure's and Google's libraries say → what happened, and what to do; the first counts.
_TOLD: tuple[tuple[re.Pattern[str], tuple[str, str]], ...] = tuple(
    (re.compile(codes), told)
    for codes, told in (
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
)
_CODE = re.compile(r"AWS Error ([A-Z_]+)|Azure Error: \[(\w+)\]|\bStatus\(([A-Z_]+):|HTTP status (\d{3})")


class StoreFailure(OSError):  # noqa: N818 - named for what it is, as the tree in `errors` is
    """A store that did not do what was asked: `reason` and `advice` for a person, `strerror` holds both.

    It has an `errno` as the system's own errors have, so that it passes wherever those do.
    """

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(errno.EIO, f"{reason}; {advice}")
        self.reason = reason
        self.advice = advice


def in_words(place: StoredPath, said: str) -> StoreFailure:
    """Return the failure that a library's text tells of."""
    for codes, (reason, advice) in _TOLD:
        if codes.search(said):
            return StoreFailure(
                reason,
                advice.format(credentials=CREDENTIALS[place.scheme], endpoint=ENDPOINTS[place.scheme]),
            )
    code = _CODE.search(said)
    named = f" with {next(filter(None, code.groups()))}" if code else ""
    return StoreFailure(f"the store failed{named}", "see that it works with the store's own tools")


@contextmanager
def told(place: StoredPath) -> Iterator[None]:
    """Turn what pyarrow raises into `StoreFailure`, or `FileNotFoundError` with the URI: the one border."""
    import pyarrow as pa  # noqa: PLC0415 - only who names a store needs it

    try:
        yield
    except StoreFailure:
        raise
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, _GONE[0], str(place)) from None
    except (OSError, pa.ArrowException) as error:
        # Not chained: a traceback would show the text, and with it whatever the address carried.
        raise in_words(place, str(error)) from None
