"""FerretDB 1.24 on SQLite, built once by a Go toolchain and kept in the cache folder. No dependency of users.

python cloud/tests/store/ferretdb_build.py    # tools/test does so before the tests, which do it too
"""

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

VERSION = "1.24.2"
WHOLE_LIMIT_S = 900.0
"""64 s on two idle cores with an empty module cache, more than 200 beside a whole test run."""


def program() -> Path:
    """Where it is kept, built or not."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "opq"
    return cache / f"ferretdb-{VERSION}"


def build(limit_s: float, told: Callable[[str], None]) -> bool:
    """Whether it is there; built now if not. Of several processes one builds, and the others wait for it."""
    if program().exists():
        return True
    go = shutil.which("go")
    if go is None:
        told("FerretDB: needs Go to be built")
        return False
    source = program().parent / f"ferretdb-{VERSION}-source"
    source.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + limit_s
    with (source / ".lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    told(f"FerretDB: another process has not built it within {limit_s:g} s")
                    return False
                time.sleep(0.2)
        return program().exists() or _built(go, source, until, told)


def _built(go: str, source: Path, until: float, told: Callable[[str], None]) -> bool:
    for file in (Path(__file__).parent / "ferretdb").glob("*.*"):
        shutil.copy(file, source / file.name)
    made = program().with_suffix(f".{os.getpid()}")
    environment = {
        **os.environ,
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-mod=mod -buildvcs=false",
        "CGO_ENABLED": "0",
    }
    begun = time.monotonic()
    compiling = subprocess.Popen(
        [go, "build", "-o", str(made), "."],
        cwd=source,
        env=environment,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _, errors = compiling.communicate(timeout=max(1.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        os.killpg(compiling.pid, 9)
        compiling.communicate()
        told("FerretDB: not built in time; the next run goes on where this one stopped")
        return False
    if compiling.returncode:
        told(f"FerretDB: cannot be built: {(errors.strip().splitlines() or ['?'])[-1][:200]}")
        return False
    made.replace(program())
    told(f"FerretDB: built in {time.monotonic() - begun:.0f} s, kept in the cache folder")
    return True


if __name__ == "__main__":
    sys.exit(not build(WHOLE_LIMIT_S, print))
