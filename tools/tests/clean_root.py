"""Clean roots for tests, of the machine's own release, and what runs in one, in name spaces of its own."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from opq_hil.backends.debian_source import SourceError, mirror

DEVICES = "null:3 zero:5 full:7 random:8 urandom:9"
ENTER = f"""set -e; root=$1; shift; mount --bind "$root" "$root"
mount -t proc proc "$root/proc"; mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in {DEVICES}; do mknod -m 666 "$root/dev/${{device%:*}}" c 1 "${{device#*:}}"; done
mkdir "$root/dev/shm" "$root/dev/pts"; mount -t tmpfs tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"; ln -s pts/ptmx "$root/dev/ptmx"
"""
INSIDE = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}
INDEX_CERTIFICATES = os.environ.get("PIP_CERT", "")


def make_plain_root(root: Path, packages: str, *options: str) -> None:
    """A root of this machine's release, from its own package sources, checked by their keys.

    Skips the test where there are none of Debian, or where their key is not in a file.
    """
    try:
        own = mirror()
    except SourceError as error:
        pytest.skip(str(error))
    if own.signed_by and not own.signed_by.startswith("/"):
        pytest.skip("the key of this machine's package sources is not in a file, and debootstrap reads files")
    keys = [f"--keyring={own.signed_by}"] if own.signed_by else []
    words = ["debootstrap", "--variant=minbase", *keys, *options, f"--include={packages}"]
    subprocess.run([*words, own.suite, str(root), own.uri], check=True, stdout=subprocess.DEVNULL)


def in_root(root: Path, setup: str, *command: str) -> list[str]:
    """The words that run a command in a root, in name spaces of its own."""
    spaces = ("--mount", "--pid", "--fork", "--kill-child", "--propagation=private")
    network = ("--net",) if setup else ()
    script = f'{ENTER}{setup}exec chroot "$root" "$@"'
    return ["unshare", *spaces, *network, "sh", "-c", script, "sh", str(root), *command]


def run_step(root: Path, step: str) -> None:
    """Runs a step of an installation in a root, with the network of this machine."""
    environment = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    environment.pop("PIP_FIND_LINKS", None)
    environment |= INSIDE
    if INDEX_CERTIFICATES:
        shutil.copy(INDEX_CERTIFICATES, root / "tmp/index.crt")
        environment |= {"PIP_CERT": "/tmp/index.crt"}
    done = subprocess.run(
        in_root(root, "", "sh", "-c", step), env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{step}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
