"""Object stores on loopback: third-party servers, each in its own process."""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest

ROOT = Path(__file__).resolve().parents[1]

#: The public account and key in Azurite's documentation.
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

#: A secret that must not be shown anywhere.
SECRET = "s3cr3t-that-must-show-nowhere"


@dataclass(frozen=True)
class Bucket:
    """An empty bucket or container: its URI, its environment variables, and its pyarrow file system."""

    uri: str
    name: str
    environ: Mapping[str, str]
    files: Any

    def put(self, key: str, data: bytes | str) -> str:
        """Write an object, and return its URI."""
        with self.files.open_output_stream(f"{self.name}/{key}", compression=None) as out:
            out.write(data.encode() if isinstance(data, str) else data)
        return f"{self.uri}/{key}"

    def get(self, key: str) -> bytes:
        with self.files.open_input_file(f"{self.name}/{key}") as file:
            return bytes(file.read())

    def keys(self, below: str = "") -> list[str]:
        """Return the keys of all objects below a folder, sorted."""
        base = f"{self.name}/{below}".rstrip("/")
        found = self.files.get_file_info(pafs.FileSelector(base, recursive=True, allow_not_found=True))
        return sorted(
            info.path.removeprefix(f"{self.name}/") for info in found if info.type is pafs.FileType.File
        )


@dataclass(frozen=True)
class Server:
    """A store's server: its kind and its port."""

    kind: str
    port: int

    def bucket(self, name: str) -> Bucket:
        address = f"127.0.0.1:{self.port}"
        if self.kind == "s3":
            files: Any = pafs.S3FileSystem(
                access_key="AKIATEST",
                secret_key=SECRET,
                scheme="http",
                endpoint_override=address,
                region="us-east-1",
                allow_bucket_creation=True,
            )
            environ = {
                "AWS_ENDPOINT_URL": f"http://{address}",
                "AWS_ACCESS_KEY_ID": "AKIATEST",
                "AWS_SECRET_ACCESS_KEY": SECRET,
                "AWS_EC2_METADATA_DISABLED": "true",
            }
            uri = f"s3://{name}"
        elif self.kind == "gs":
            files = pafs.GcsFileSystem(
                anonymous=True, scheme="http", endpoint_override=address, project_id="test"
            )
            environ = {"STORAGE_EMULATOR_HOST": f"http://{address}"}
            uri = f"gs://{name}"
        else:
            files = pafs.AzureFileSystem(
                account_name=ACCOUNT,
                account_key=ACCOUNT_KEY,
                blob_storage_authority=address,
                dfs_storage_authority=address,
                blob_storage_scheme="http",
                dfs_storage_scheme="http",
            )
            environ = {
                "AZURE_STORAGE_SERVICE_ENDPOINT": f"http://{address}/{ACCOUNT}",
                "AZURE_STORAGE_KEY": ACCOUNT_KEY,
            }
            uri = f"abfss://{name}@{ACCOUNT}.dfs.core.windows.net"
        files.create_dir(name)
        return Bucket(uri, name, environ, files)


def azurite() -> str | None:
    """Return the program of Azurite, if it is installed: `npm install --no-save azurite`."""
    return shutil.which("azurite-blob", path=str(ROOT / "node_modules" / ".bin")) or shutil.which(
        "azurite-blob"
    )


@contextmanager
def serving(kind: str) -> Iterator[Server]:
    """Run a store's server in its own process, on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if kind == "s3":
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    elif kind == "gs":
        serve = "import sys; from gcp_storage_emulator.__main__ import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", serve, "start", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--in-memory"]
    else:
        program = azurite()
        assert program is not None
        command = [program, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--disableTelemetry"]
        command += ["--silent", "--skipApiVersionCheck", "--inMemoryPersistence"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    assert process.poll() is None, f"{command[0]} ended"
                    time.sleep(0.05)
            yield Server(kind, port)
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def moto() -> Iterator[Server]:
    with serving("s3") as server:
        yield server


@pytest.fixture(scope="session")
def google() -> Iterator[Server]:
    with serving("gs") as server:
        yield server


@pytest.fixture(scope="session")
def azure() -> Iterator[Server]:
    if azurite() is None:
        pytest.skip("Azurite is not installed: npm install --no-save azurite")
    with serving("azure") as server:
        yield server


@pytest.fixture
def made(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Server], Bucket]:
    """Create the test's own bucket on a server."""

    def make(server: Server) -> Bucket:
        digest = hashlib.blake2b(request.node.nodeid.encode(), digest_size=8).hexdigest()
        bucket = server.bucket(f"test-{digest}")
        for name, value in bucket.environ.items():
            monkeypatch.setenv(name, value)
        return bucket

    return make


@pytest.fixture
def s3(moto: Server, made: Callable[[Server], Bucket]) -> Bucket:
    return made(moto)


@pytest.fixture(params=["moto", pytest.param("google", marks=pytest.mark.slow), "azure"])
def bucket(request: pytest.FixtureRequest, made: Callable[[Server], Bucket]) -> Bucket:
    """An empty bucket of each kind of store."""
    return made(request.getfixturevalue(request.param))


@pytest.fixture
def azure_bucket(azure: Server, made: Callable[[Server], Bucket]) -> Bucket:
    return made(azure)
