"""A tree: a virtual environment made of a bundle of wheels, without internet, compiler or pip of the system.

A bundle is a zip with wheels, pip's among them, and `bundle.json`: {"version", "require"}. It is built where
it will stay, because a virtual environment contains its path. Only the journal shows whether it is complete.
"""

import fcntl
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import venv
import zipfile
import zlib
from collections import Counter
from contextlib import suppress
from errno import ENOSPC
from pathlib import Path

from opq_gateway.update.journal import PROGRAM, UpdateFolder, sync_tree
from opq_proto.kit.whole_file import flush_to_disk
from opq_proto.release.plan import ReleaseError

MEMBER = re.compile(r"[A-Za-z0-9_.+!-]{1,200}\.whl", re.ASCII)
REQUIRE = re.compile(r"opq-toolkit(\[[a-z,]+\])?==[0-9.]+", re.ASCII)
MOST_BYTES = 2_000_000_000
"""Largest size of all wheels unpacked from the bundle."""
MOST_FACTS_BYTES = 10_000
DAMAGED = (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, RuntimeError)
"""Errors of damaged archives. RuntimeError: encrypted, or packed in a way that Python does not know."""
PIP_S = 1800.0
"""A Raspberry Pi with a slow card needs minutes."""
BUILD_NICENESS = 10


def tree_tag() -> str:
    """Python and processor of this gateway's bundles, such as `cp311-x86_64`."""
    return f"cp{sys.version_info.major}{sys.version_info.minor}-{platform.machine()}"


def build(folder: UpdateFolder, name: str, version: str) -> None:
    """Makes the tree of `folder.bundle`, and flushes it to the disk.

    Raises:
        ReleaseError: the bundle is not of `version`, or cannot be installed; the text says why.
        OSError: no room, no permission.
    """
    tree = folder.tree(name)
    with (folder.path / "building.lock").open("w") as lock:
        try:  # a child of a killed gateway may still write, and then holds the lock
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BlockingIOError("an earlier build is still running") from error
        clear(folder, name)
        try:
            require = unpack(folder.bundle, folder.wheels, version)
            venv.EnvBuilder(symlinks=True).create(tree)
            _install(tree, folder.wheels, require, lock.fileno())
            if not os.access(tree / PROGRAM, os.X_OK):
                raise ReleaseError(f"{require} does not contain {PROGRAM}")
            sync_tree(tree)
            flush_to_disk(folder.path)
        except BaseException:
            with suppress(OSError):
                clear(folder, name)
                folder.bundle.unlink()
            raise
        folder.bundle.unlink()
        shutil.rmtree(folder.wheels)


def clear(folder: UpdateFolder, name: str) -> None:
    """Removes a tree and its unpacked wheels."""
    for path in (folder.tree(name), folder.wheels):
        if path.exists():
            shutil.rmtree(path)


def unpack(bundle: Path, to: Path, version: str) -> str:
    """Unpacks the wheels of a bundle; returns the requirement to install. Raises ReleaseError."""
    to.mkdir()
    try:
        with zipfile.ZipFile(bundle) as file:
            names = [each.filename for each in file.infolist() if each.filename != "bundle.json"]
            if bad := [
                each for each, times in Counter(names).items() if times > 1 or not MEMBER.fullmatch(each)
            ]:
                raise ReleaseError(f"the bundle has {bad[0][:60]!r}; want wheels, each once, and no folders")
            if (size := sum(each.file_size for each in file.infolist())) > MOST_BYTES:
                raise ReleaseError(f"the bundle has {size} bytes unpacked; want {MOST_BYTES} at most")
            if file.getinfo("bundle.json").file_size > MOST_FACTS_BYTES:
                raise ReleaseError(f"bundle.json has more than {MOST_FACTS_BYTES} bytes")
            facts = json.loads(file.read("bundle.json"))
            for name in names:
                with file.open(name) as wheel, (to / name).open("xb") as out:
                    shutil.copyfileobj(wheel, out, 1 << 20)
        require = str(facts["require"])
    except (*DAMAGED, ValueError, TypeError, KeyError) as error:
        raise ReleaseError(f"it is not a bundle of `opq-tools release build`: {error}") from error
    if facts.get("version") != version or not REQUIRE.fullmatch(require):
        raise ReleaseError(
            f"the bundle is of {facts.get('version')!r:.40} and {require[:60]!r}, not {version}"
        )
    return require


def _install(tree: Path, wheels: Path, require: str, lock: int) -> None:
    pip = next(iter(sorted(wheels.glob("pip-*.whl"))), None)
    if pip is None:
        raise ReleaseError("the bundle has no wheel named pip")
    command = [
        str(tree / "bin/python"),
        "-I",
        str(pip / "pip"),
        "--isolated",
        "--disable-pip-version-check",
        "install",
        "--no-index",
        "--no-cache-dir",
        "--only-binary",
        ":all:",
        "--find-links",
        str(wheels),
        require,
    ]
    environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    try:
        done = subprocess.run(
            ["nice", "-n", str(BUILD_NICENESS), *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=PIP_S,
            pass_fds=(lock,),
            env=environment,
        )
    except subprocess.TimeoutExpired as error:
        raise ReleaseError(f"pip has not ended after {PIP_S:.0f} s") from error
    if done.returncode != 0:
        if "[Errno 28]" in done.stderr:
            raise OSError(ENOSPC, "the disk has no space left for the tree")
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in said if line.startswith("ERROR:")]
        raise ReleaseError(f"pip: {(errors or said or ['it printed nothing'])[0].strip()[:200]}")
