"""Files of a data folder that belong to another user than the services, such as after a command with sudo."""

import grp
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from opq_proto.kit.system_place import UNITS, UNITS_DATA_DIR
from opq_proto.kit.system_record import FOLDER
from opq_tools.system.doctor.problem import Problem
from opq_tools.system.service.service_command import USER

WHOLE_FOLDERS = ("curve", FOLDER, "config", "backend")
"""Folders of which each file is looked at; of the others those at the top."""
ROOT = 0


def check_owners(data_dir: Path) -> Iterator[Problem]:
    """Yields files that services of the folder's owner may not use; also where root looks, who may."""
    owners = {path: path.lstat().st_uid for path in _files(data_dir)}
    owner = _services_user(data_dir, set(owners.values()))
    wrong = [path for path, uid in owners.items() if uid != owner]
    if wrong:
        others = ", ".join(sorted({user_name(owners[path]) for path in wrong}))
        count = f"{wrong[0]} belongs" if len(wrong) == 1 else f"{wrong[0]} and {len(wrong) - 1} more belong"
        text = f"{count} to {others}, and the services run as {user_name(owner)}"
        yield Problem("owner", text, chown(owner, data_dir))


def _files(data_dir: Path) -> Iterator[Path]:
    yield data_dir
    for path in sorted(data_dir.iterdir()):
        yield path
        if path.name in WHOLE_FOLDERS and path.is_dir() and os.access(path, os.R_OK | os.X_OK):
            yield from sorted(path.rglob("*"))


def _services_user(data_dir: Path, owners: set[int]) -> int:
    """The user as whom services run: that of the units, else the folder's owner.

    Where files of root and of one other user are mixed it is the other one: sudo makes the mistake.
    """
    if data_dir.resolve() == UNITS_DATA_DIR and any(UNITS.glob("opq-*.service")):
        try:
            return pwd.getpwnam(USER).pw_uid
        except KeyError:
            pass
    mortal = owners - {ROOT}
    return mortal.pop() if len(mortal) == 1 else data_dir.stat().st_uid


def user_name(uid: int) -> str:
    """The name of a user; its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def chown(uid: int, data_dir: Path) -> str:
    """The command that gives a folder to a user."""
    try:
        entry = pwd.getpwuid(uid)
        whom = f"{entry.pw_name}:{grp.getgrgid(entry.pw_gid).gr_name}"
    except KeyError:
        whom = str(uid)
    return f"sudo chown -R {whom} {data_dir}"
