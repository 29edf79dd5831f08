"""FerretDB on SQLite, a store of the MongoDB protocol; tests of the store build it in the cache folder."""

import os
import socket
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Final

from opq_sim.faults.parts.played_service import ServiceError
from opq_sim.parent import end_with

VERSION: Final = "1.24.2"
"""That of cloud/tests/store/ferretdb_build.py (test_device_constants.py)."""
START_S: Final = 60.0


def program() -> Path:
    """Where it is kept, built or not."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "opq"
    return cache / f"ferretdb-{VERSION}"


class MongoServer:
    """The server for the `with` block; it outlives the ends of the cloud, as another machine's would."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = int(free.getsockname()[1])
        self._folder = folder

    @property
    def settings(self) -> dict[str, str]:
        """The section `[store]` of a cloud."""
        return {"mongo_uri": f"mongodb://127.0.0.1:{self._port}/opq"}

    def __enter__(self) -> "MongoServer":
        self._folder.mkdir(parents=True)
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [str(program()), f"127.0.0.1:{self._port}", str(self._folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=partial(end_with, os.getpid()),  # noqa: PLW1509  # no thread runs yet
            )
        until_s = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until_s:
                self.__exit__()
                raise ServiceError(f"FerretDB did not start: {self._folder / 'log'}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), 1.0).close()
        except OSError:
            return False
        return True
