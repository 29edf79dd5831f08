"""Disk: the folder of a service's data, and how it becomes full.

With its own mount namespace, the world has a small file system in memory, and "full" is a real
ENOSPC: its size is set to what is used. Where mounting is not permitted, "full" is RLIMIT_FSIZE of its
users: every write fails (EFBIG), even into space that was allocated beforehand, which a full disk would
accept.
"""

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from opq_sim.faults.parts.played_service import ServiceProcess

SIZE_BYTES = 384 << 20
TRIES = 20


class FillableDisk:
    """The folder; its own file system if `mounted`."""

    def __init__(self, folder: Path, mounted: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.mounted = mounted
        if mounted:
            _mount(folder, f"size={SIZE_BYTES}")

    def fill(self, users: Iterable[ServiceProcess], full: bool) -> None:
        """Makes the disk full, or as large as before, for the processes that write on it."""
        if not self.mounted:
            for user in users:
                user.limit_files(0 if full else None)
        elif not full:
            _mount(self.folder, f"remount,size={SIZE_BYTES}")
        else:
            self._shrink()

    def _shrink(self) -> None:
        for left in range(TRIES, 0, -1):  # files are being written: the used size may have grown meanwhile
            state = os.statvfs(self.folder)
            used = (state.f_blocks - state.f_bfree) * state.f_frsize
            try:
                _mount(self.folder, f"remount,size={used}")
            except OSError:
                if left == 1:
                    raise
            else:
                return


def _mount(folder: Path, options: str) -> None:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


def can_mount() -> bool:
    """True if a process may have mounts of its own here."""
    if shutil.which("unshare") is None or shutil.which("mount") is None:
        return False
    probe = [*OWN_MOUNTS, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(probe, check=False, capture_output=True).returncode == 0


OWN_MOUNTS = ("unshare", "--map-root-user", "--mount")
"""Prefix of a command whose mounts are its own, and end with it."""
