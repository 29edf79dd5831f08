"""Files that are written whole, and devices and pipes, which stay what they are."""

import os
import stat
import threading
from pathlib import Path

import pytest

from opq_proto.kit.whole_file import FileNotWrittenError, remove_unfinished, whole_file, write_whole_file


@pytest.mark.parametrize("name", ["pipe", "link"])
def test_a_pipe_stays_a_pipe(tmp_path: Path, name: str) -> None:
    """As root a rename onto /dev/null would put a file in its place, for every program."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()), daemon=True)
    reader.start()
    assert write_whole_file(tmp_path / name, [b"a", b"bc"]) == 3
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    reader.join(240)
    assert received == [b"abc"]
    assert {each.name for each in tmp_path.iterdir()} == {"link", "pipe"}


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="there is no /dev/full here")
def test_a_full_device_is_an_error() -> None:
    with pytest.raises(FileNotWrittenError, match="/dev/full: cannot be written: No space left"):
        write_whole_file(Path("/dev/full"), [b"a"])
    assert Path("/dev/full").is_char_device()


def test_a_folder_is_no_file_to_write(tmp_path: Path) -> None:
    with pytest.raises(FileNotWrittenError, match="cannot be written"):
        write_whole_file(tmp_path, [b"a"])
    assert not list(tmp_path.iterdir())


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    path, other = tmp_path / "a[1].json", tmp_path / "a1.json"
    write_whole_file(path, [b"whole"])
    with whole_file(path) as file, whole_file(other) as second:
        file.write(b"half")
        second.write(b"half")
        left = {each.name for each in tmp_path.iterdir()}
        assert len(left) == 3
        for each in tmp_path.glob(".*.part"):  # as a kill leaves them
            each.with_name(each.name.replace(".part", "0.part")).write_bytes(b"half")
    remove_unfinished(path)
    assert len(list(tmp_path.glob(".a[[]1]*.part"))) == 0 and len(list(tmp_path.glob(".a1*.part"))) == 1
    assert path.read_bytes() == other.read_bytes() == b"half"
