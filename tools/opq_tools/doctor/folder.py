"""What is wrong with a data folder: disk, keys, configuration, store."""

import contextlib
import errno
import os
import shutil
import sqlite3
import statistics
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from opq_cloud.core.conditions import DISK_SHARE
from opq_proto.config.reading import read_document
from opq_proto.errors import ConfigError, KeyFileError
from opq_proto.keys.key_files import KeyFolder, read_key_file, read_secret_file
from opq_proto.kit.port_trouble import HINTS
from opq_tools.doctor.problem import Problem

LEAST_FREE, LEAST_SHARE = 1 << 30, 1 - DISK_SHARE
LEAST_FILES = 1000
SLOW_S = 0.05
TRIES = 5
CHECKED_BYTES = 200 << 20
"""A larger database is not read whole here: that would take longer than the rest."""
LARGE_LOG = 1 << 30
HEAD = b"SQLite format 3\0"
STORES = ("opq.db", "accounts.db")
CONFIGURATIONS = ("config/gateway.toml", "config/cloud.toml")
KINDS = ("gateway", "cloud", "rules")
RESTORE = "opq-tools restore ARCHIVE into an empty folder (docs/operating.md, Copies)"
REPAIR = "opq-tools store repair saves what can be read, or opq-tools restore ARCHIVE into an empty folder"


def check_folder(data_dir: Path, etc: Path = Path("/etc/opq")) -> Iterator[Problem]:
    """Yields what is wrong with the data folder, and with configurations in it and in `etc`."""
    if not data_dir.is_dir():
        if data_dir.exists():
            yield Problem("data folder", f"{data_dir} is not a folder", f"move {data_dir} away")
        return
    if not os.access(data_dir, os.W_OK | os.X_OK):
        owner = data_dir.stat().st_uid
        text = f"{data_dir} belongs to user {owner}, and this user, {os.geteuid()}, cannot write there"
        yield Problem("data folder", text, f"run as that user, or: sudo chown -R {os.geteuid()} {data_dir}")
        return
    yield from _disk(data_dir)
    yield from _keys(data_dir)
    yield from _configurations(data_dir, etc)
    yield from _stores(data_dir)


def _disk(data_dir: Path) -> Iterator[Problem]:
    space = shutil.disk_usage(data_dir)
    if space.free < max(LEAST_FREE, LEAST_SHARE * space.total):
        text = f"{space.free / 1e9:.1f} GB of {space.total / 1e9:.0f} GB are free at {data_dir}"
        fix = "delete what is not needed, or keep less: ring_hours of the gateway, [store] of the cloud"
        yield Problem("disk", text, fix)
    files = os.statvfs(data_dir)
    if files.f_files and files.f_favail < LEAST_FILES:
        text = f"{files.f_favail} more files fit on the disk of {data_dir}"
        yield Problem("disk", text, "delete small files that are not needed (df -i)")
    probe = data_dir / f".doctor-{os.getpid()}"
    try:
        took_s = []
        for _ in range(TRIES):
            begun_s = time.perf_counter()
            with probe.open("wb") as file:
                file.write(bytes(4096))
                os.fsync(file.fileno())
            took_s.append(time.perf_counter() - begun_s)
        if statistics.median(took_s) > SLOW_S:
            text = f"the disk of {data_dir} takes {statistics.median(took_s):.2f} s to keep a page"
            yield Problem("disk", text, "an SSD, or a card that is not worn; nothing else that writes to it")
    except OSError as error:
        yield Problem("disk", f"{data_dir} cannot be written: {error.strerror}", "look at `dmesg` and `df`")
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def _keys(data_dir: Path) -> Iterator[Problem]:
    keys = KeyFolder(data_dir / "curve")
    if not keys.server_public.parent.parent.exists():
        return  # nothing was ever set up here
    for path in sorted(keys.server_secret.parent.glob("*_secret")):
        if path.stat().st_mode & 0o077:
            yield Problem(
                "keys", f"{path} can be read by others", f"chmod 600 {path}", partial(path.chmod, 0o600)
            )
        try:
            read_secret_file(path)
        except KeyFileError as error:
            box_id = path.name.removeprefix("opqbox").removesuffix("_secret")
            whose = f"--boxes {box_id}" if box_id.isdigit() else "--server"
            make = f"opq-tools keygen --out {keys.root} {whose} --force, or restore a copy"
            yield Problem("keys", str(error), make)
    for path in sorted(keys.server_public.parent.glob("*.key")):
        try:
            read_key_file(path)
        except KeyFileError as error:
            yield Problem("keys", str(error), f"copy the right file there, or move {path} away")
    folder, make = keys.server_secret.parent, f"opq-tools keygen --out {keys.root} --server"
    if folder.is_dir() and folder.stat().st_mode & 0o077:
        mend = partial(folder.chmod, 0o700)
        yield Problem("keys", f"{folder} can be entered by others", f"chmod 700 {folder}", mend)
    if keys.server_secret.exists() and keys.server_public.exists():
        with contextlib.suppress(KeyFileError):
            pair = read_secret_file(keys.server_secret)
            if pair.public != read_key_file(keys.server_public).public:
                text = f"{keys.server_public} does not belong to {keys.server_secret}: no Box is let in"
                make = f"copy both files from one back-up, or {make} --force and give gateways the public key"
                yield Problem("keys", text, make)
    elif not (data_dir / "gateway").exists():  # a gateway has the server's public key alone
        missing = keys.server_public if keys.server_secret.exists() else keys.server_secret
        if keys.server_secret.exists() or keys.server_public.exists():
            make = f"take both files from one back-up, or {make} --force and give gateways the new public key"
        yield Problem("keys", f"{missing} is missing", make)


def _configurations(data_dir: Path, etc: Path) -> Iterator[Problem]:
    from opq_tools.config_kinds import checked_file, kind_of

    for path in (*(data_dir / name for name in CONFIGURATIONS), *sorted(etc.glob("*.toml"))):
        if not path.exists():
            continue
        # The units pass --data-dir; `up` writes data_dir into the file.
        given = data_dir if path.parent == etc else None
        try:
            document = read_document(path)
            kind = path.stem if path.stem in KINDS else kind_of(document)
            checked = checked_file(path, document, kind, given)
            found = [f"{item.key}: {item.text}" for item in checked.problems]
        except (ConfigError, OSError) as error:
            head, *lines = str(error).splitlines()
            found = lines or [head]
        for text in found:
            fix = f"edit {path}; opq-tools config check --data-dir {data_dir} {path}"
            yield Problem("configuration", f"{path.name}: {text.strip()}", fix)
        if not found and kind == "gateway":
            yield from _serial_ports(str(box["port"]) for box in document.get("box", ()))


def _serial_ports(ports: Iterable[str]) -> Iterator[Problem]:
    for port in ports:
        if Path(port).exists() and not os.access(port, os.R_OK | os.W_OK):
            yield Problem("serial port", f"{port} cannot be opened by this user", HINTS[errno.EACCES])


def _stores(data_dir: Path) -> Iterator[Problem]:
    for name in STORES:
        path = data_dir / name
        if not path.exists():
            if name == "opq.db" and (data_dir / "accounts.db").exists() and (data_dir / "mauka").exists():
                yield Problem("store", f"{path} is gone", RESTORE)
            continue
        with path.open("rb") as file:
            head = file.read(len(HEAD))
        if head != HEAD:
            what = "is empty" if not head else "is not an SQLite file"
            yield Problem("store", f"{path} {what}", REPAIR if head else RESTORE)
            continue
        log = path.with_name(f"{name}-wal")
        if log.exists() and log.stat().st_size > LARGE_LOG:
            text = f"{log} has {log.stat().st_size / 1e9:.1f} GB: a program reads {name} and does not end"
            yield Problem("store", text, f"end what holds it (fuser {path}), such as a forgotten sqlite3")
        if path.stat().st_size <= CHECKED_BYTES:
            yield from _read_whole(path)


def _read_whole(path: Path) -> Iterator[Problem]:
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as opened:
            (first, *_) = opened.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        first = str(error)
    if first != "ok":
        yield Problem("store", f"{path} is damaged: {first}", REPAIR)
