"""A sound store in a folder that is mounted read-only is read, checked and backed up, not called damaged."""

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from opq_cloud.store import open_store
from opq_proto.messages import Measurement, Metric

MOUNT = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'


def in_read_only(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs `opq-tools` where `folder` cannot be written by anybody."""
    command = ["unshare", "-rm", "sh", "-c", MOUNT, "sh", str(folder), sys.executable, "-m", "opq_tools.cli"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    if done.stderr.startswith(("unshare:", "mount:")):
        pytest.skip(f"this machine lets us mount nothing: {done.stderr.strip()}")
    return done


def test_a_read_only_folder_is_named_as_such(tmp_path: Path) -> None:
    folder = tmp_path / "D"
    with closing(open_store(None, folder)) as store:
        store.append_measurements([Measurement("1", 1_765_792_486_000, {"rms": Metric(119.0, 121.0, 120.0)})])
    place = ("--data-dir", str(folder))
    checked = in_read_only(folder, "store", "check", *place)
    assert checked.returncode == 0 and "all is well" in checked.stdout, checked
    made = in_read_only(folder, "backup", str(tmp_path / "copy.tar"), *place)
    assert made.returncode == 0, made.stderr
    said = json.loads(in_read_only(folder, "doctor", "--json", *place).stdout)
    (note,) = (each for each in said["notes"] if str(folder) in each)
    assert "is on a read-only file system" in note
    assert not [each for each in said["problems"] if str(folder) in each["text"]], "no advice to repair"
