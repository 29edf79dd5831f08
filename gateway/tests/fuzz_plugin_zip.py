"""For atheris: bytes as a plug-in's zip, through the whole install. Run by test_rules_fuzzing.py.

The first byte chooses: the rest is the zip, or the rest are names and contents of which a zip is made (else
no mutation gets past its sums). Nothing may be opened for writing, made or renamed outside the plug-ins'
folder, and what other plug-ins have there stays as it is.
"""

import atexit
import io
import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports():
    from opq_plugins.package.install import Installer
    from opq_plugins.package.manifest import FOLDERS
    from opq_plugins.package.properties import fill, read_properties
    from opq_plugins.policy import Policy
    from opq_proto.errors import PluginError

MEMORY = Path("/dev/shm")
ROOT = Path(tempfile.mkdtemp(prefix="opq-fuzz-zip-", dir=MEMORY if MEMORY.is_dir() else None))
PLUGINS, UPLOADS = ROOT / "data" / "plugins", ROOT / "data" / "uploads"
UPLOADS.mkdir(parents=True)
SMALL = Policy(max_unpacked_bytes=1 << 20, max_zip_bytes=1 << 20, max_files=50)
INSTALLER = Installer(PLUGINS, UPLOADS, SMALL)
NEIGHBOUR = PLUGINS / "neighbour" / "1.0.0"
NEIGHBOUR.mkdir(parents=True)
(NEIGHBOUR / "plugin.json").write_text("{}")
ZIP = UPLOADS / "x.zip"
ZIP.touch()
OWN = '{"name":"m","version":"1.0.0","kind":"sink","api":1}'
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
outside: list[Any] = []
atexit.register(shutil.rmtree, ROOT, ignore_errors=True)


def watch(event: str, args: tuple[Any, ...]) -> None:
    match event, args:
        case "open", (path, _, flags) if isinstance(flags, int) and flags & WRITES:
            paths = [path]
        case "os.mkdir" | "os.rmdir" | "os.remove" | "os.chmod" | "os.truncate", (path, *_):
            paths = [path]
        case "os.rename" | "os.link" | "os.symlink", (source, target, *_):
            paths = [source, target]
        case "subprocess.Popen" | "os.system" | "os.exec" | "os.posix_spawn", _:
            outside.append((event, args))
            return
        case _:
            return
    for each in paths:
        if isinstance(each, int):
            continue  # a handle was made by a path before
        where = Path(os.fsdecode(each))
        if event in ("os.remove", "os.rmdir") and not where.is_absolute():
            continue  # rmtree goes by handles, and by names below them
        if where.absolute() != ROOT and ROOT not in where.absolute().parents:
            outside.append((event, args))


def standing() -> dict[str, tuple[int, int]]:
    """Everything below ROOT but the zip and the plug-in's own folder."""
    found = {}
    for folder, names, files in os.walk(ROOT):
        for name in (*names, *files):
            path = os.path.join(folder, name)  # noqa: PTH118 - walked for each input
            about = os.lstat(path)
            found[path] = (about.st_mode, about.st_size)
    return found


def made_of(raw: bytes) -> bytes:
    """Names and contents, parted by zero bytes; "plugin.json" is there unless the first byte is even."""
    parts = raw[1:].split(b"\0")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        if raw[:1] and raw[0] & 1:
            archive.writestr("plugin.json", OWN)
        for at in range(0, len(parts) - 1, 2):
            entry = zipfile.ZipInfo(parts[at].decode("utf-8", "replace"))
            entry.external_attr = raw[0] << 24
            archive.writestr(entry, parts[at + 1])
    return buffer.getvalue()


def one(raw: bytes) -> None:
    if raw[:1] and raw[0] >= 128:
        ZIP.write_bytes(made_of(raw[1:]))
    else:
        ZIP.write_bytes(raw[1:])
    outside.clear()
    own: set[Path] = set()
    try:
        package, signed_by = INSTALLER.fetch(ZIP.as_uri(), None)
        name = package.manifest.name
        own.add(PLUGINS / name)
        if name != "neighbour":
            INSTALLER.unpack(package, signed_by)
            folder = INSTALLER.folder(name, str(package.manifest.version))
            for kind, symbol in package.manifest.symbols:
                try:
                    fill(read_properties(folder, FOLDERS[kind], symbol), {})
                except ValueError:
                    continue
    except PluginError:
        pass
    assert not outside, outside
    for path in own - {PLUGINS / "neighbour"}:
        shutil.rmtree(path, ignore_errors=True)
    now = standing()
    now.pop(str(ZIP), None)
    assert now == BEFORE, set(now.items()) ^ set(BEFORE.items())


BEFORE = standing()
BEFORE.pop(str(ZIP))
sys.addaudithook(watch)
atheris.Setup(sys.argv, one)
atheris.Fuzz()
