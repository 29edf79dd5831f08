"""Files that are written whole, and devices and pipes, which stay what they are."""

import os
import stat
import threading
from pathlib import Path

import pytest

from opq_proto.kit.whole_file import FileNotWrittenError, write_whole_file


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
    reader.join(10)
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
