"""What is wrong with a data folder: disk, owners, keys, configuration; `stores.py` has its databases."""

import contextlib
import errno
import os
import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from opq_cloud.core.service_conditions import DISK_SHARE
from opq_proto.config.reading import read_document
from opq_proto.errors import ConfigError, KeyFileError
from opq_proto.keys.key_files import KeyFolder, read_key_file, read_secret_file
from opq_proto.kit.port_trouble import HINTS
from opq_proto.kit.sqlite_file import is_on_read_only
from opq_proto.kit.system_record import GATEWAY, UnfinishedRestoreError, read_record, refuse_unfinished
from opq_tools.system.doctor.owners import check_owners, chown, user_name
from opq_tools.system.doctor.problem import Problem
from opq_tools.system.doctor.sites import check_sites
from opq_tools.system.doctor.stores import check_stores

LEAST_FREE_BYTES = 1 << 30
"""With less free space the disk counts as full."""
LEAST_FREE_SHARE = 1 - DISK_SHARE
"""The same as a share of the disk; the larger of both counts."""
LEAST_FILES = 1000
SLOW_S = 0.05
TRIES = 5
CONFIGURATIONS = ("config/gateway.toml", "config/cloud.toml")
KINDS = ("gateway", "cloud", "rules")
RUN_AS_OWNER = "run this as the owner of the data folder, or with sudo"


def check_folder(data_dir: Path, etc: Path = Path("/etc/opq")) -> Iterator[Problem]:
    """Yields what is wrong with the data folder, and with configurations in it and in `etc`."""
    try:
        if not data_dir.is_dir():
            if data_dir.exists():
                yield Problem("data folder", f"{data_dir} is not a folder", f"move {data_dir} away")
            return
    except OSError as error:  # a folder above it may not be entered
        yield Problem("data folder", f"{data_dir}: {error.strerror}", RUN_AS_OWNER)
        return
    if is_on_read_only(data_dir):
        text = (
            f"{data_dir} is on a read-only file system, so that no service can run there; reading, checking "
        )
        text += "and backing up work"
        fix = (
            "mount it for writing, if services are meant to run there; `dmesg` says whether the kernel did it"
        )
        yield Problem("data folder", text, fix, is_note=not read_record(data_dir).services)
    elif not os.access(data_dir, os.W_OK | os.X_OK):
        owner, own = data_dir.stat().st_uid, os.geteuid()
        text = f"{data_dir} belongs to {user_name(owner)}, and {user_name(own)} cannot write there"
        fix = f"run as that user (sudo -u {user_name(owner)} …), or: {chown(own, data_dir)}"
        yield Problem("data folder", text, fix)
    if not os.access(data_dir, os.R_OK | os.X_OK):
        return
    try:
        refuse_unfinished(data_dir)
    except UnfinishedRestoreError as error:
        yield Problem("data folder", str(error), "opq-tools restore ARCHIVE (docs/operating.md, Copies)")
        return
    yield from _looked("disk", _disk(data_dir))
    yield from _looked("owner", check_owners(data_dir))
    yield from _looked("keys", _keys(data_dir))
    if not is_on_read_only(data_dir):  # which is named, and no configuration can be right there
        yield from _looked("configuration", _configurations(data_dir, etc))
    of_stores = [*_looked("store", check_stores(data_dir))]
    yield from of_stores
    if all(each.is_note for each in of_stores):
        yield from _looked("site", check_sites(data_dir))


def _looked(what: str, found: Iterator[Problem]) -> Iterator[Problem]:
    """Yields what a check finds; where it may not read, that is a problem too, and the next check follows."""
    try:
        yield from found
    except OSError as error:
        text = f"{error.filename} cannot be read: {error.strerror or error}"
        yield Problem(what, text, RUN_AS_OWNER)


def _disk(data_dir: Path) -> Iterator[Problem]:
    took_s, problem = _kept_pages(data_dir)
    space = shutil.disk_usage(data_dir)
    is_full = problem in (errno.ENOSPC, errno.EDQUOT)
    if is_full or space.free < max(LEAST_FREE_BYTES, LEAST_FREE_SHARE * space.total):
        text = f"{space.free / 1e9:.1f} GB of {space.total / 1e9:.0f} GB are free at {data_dir}"
        text = f"the disk is full: {text}" if is_full else text
        fix = "delete what is not needed, or keep less: ring_hours of the gateway, [store] of the cloud"
        yield Problem("disk", text, fix)
    files = os.statvfs(data_dir)
    if files.f_files and files.f_favail < LEAST_FILES:
        text = f"{files.f_favail} more files fit on the disk of {data_dir}"
        yield Problem("disk", text, "delete small files that are not needed (df -i)")
    if took_s > SLOW_S:
        text = f"the disk of {data_dir} takes {took_s:.2f} s to keep a page"
        yield Problem("disk", text, "an SSD, or a card that is not worn; nothing else that writes to it")
    if problem and not is_full and problem not in (errno.EACCES, errno.EROFS):  # each is named by itself
        text = f"{data_dir} cannot be written: {os.strerror(problem)}"
        yield Problem("disk", text, "look at `dmesg` and `df`")


def _kept_pages(data_dir: Path) -> tuple[float, int]:
    """How long the disk takes to keep a page, s, and the number of the error with which it refuses."""
    probe, took_s = data_dir / f".doctor-{os.getpid()}", []
    try:
        for _ in range(TRIES):
            begun_s = time.perf_counter()
            with probe.open("wb") as file:
                file.write(bytes(4096))
                os.fsync(file.fileno())
            took_s.append(time.perf_counter() - begun_s)
        return statistics.median(took_s), 0
    except OSError as error:
        return 0.0, error.errno or errno.EIO
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def _keys(data_dir: Path) -> Iterator[Problem]:
    keys = KeyFolder(data_dir / "curve")
    if not keys.server_public.parent.parent.exists():
        return  # nothing was ever set up here
    for path in sorted(keys.server_secret.parent.glob("*_secret")):
        if not os.access(path, os.R_OK):
            continue  # the owner is named by itself; a new key would be no help
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
                text = f"{keys.server_public} does not belong to {keys.server_secret}: no Box is admitted"
                make = f"copy both files from one back-up, or {make} --force and give gateways the public key"
                yield Problem("keys", text, make)
    elif _has_cloud(data_dir):  # a gateway has the server's public key alone
        missing = keys.server_public if keys.server_secret.exists() else keys.server_secret
        if keys.server_secret.exists() or keys.server_public.exists():
            make = f"take both files from one back-up, or {make} --force and give gateways the new public key"
        yield Problem("keys", f"{missing} is missing", make)


def _has_cloud(data_dir: Path) -> bool:
    """Whether a cloud runs in the folder, or nothing that would show that a gateway alone does."""
    meant = {each.name for each in read_record(data_dir).services} - {GATEWAY}
    has_store = (data_dir / "opq.db").exists() or (data_dir / "config/cloud.toml").exists()
    return bool(meant) or has_store or not (data_dir / "gateway").exists()


def _configurations(data_dir: Path, etc: Path) -> Iterator[Problem]:
    from opq_tools.system.config_kinds import checked_file, kind_of

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
            yield from _serial_ports([str(box["port"]) for box in document.get("box", ())])


def _serial_ports(ports: Sequence[str]) -> Iterator[Problem]:
    from opq_gateway.setup.adapters import equal_adapters

    for text in equal_adapters(ports):
        yield Problem("serial port", text, "name them by /dev/serial/by-path (docs/gateway.md)")
    for port in ports:
        if Path(port).exists() and not os.access(port, os.R_OK | os.W_OK):
            yield Problem("serial port", f"{port} cannot be opened by this user", HINTS[errno.EACCES])
