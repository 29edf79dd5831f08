"""Files that a user names: a device or a pipe that never ends is refused, and so is what is not text."""

import io
import os
import threading
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from opq_tools.shared.input_file import LARGEST_BYTES, InputFileError, read_input, read_input_text


def test_a_device_that_never_ends_is_refused() -> None:
    with pytest.raises(InputFileError, match=r"^/dev/zero has more than 64 MiB; want a smaller file$"):
        read_input("/dev/zero")


def test_the_size_limit_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, LARGEST_BYTES)
    assert len(read_input(path)) == LARGEST_BYTES
    os.truncate(path, LARGEST_BYTES + 1)
    with pytest.raises(InputFileError):
        read_input(path)


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"SELECT 1",))
    writer.start()
    assert read_input_text(pipe) == "SELECT 1"
    writer.join()


@pytest.mark.parametrize(
    ("name", "error"),
    [("none", "none cannot be read: No such file or directory"), (".", ". cannot be read: Is a directory")],
)
def test_what_cannot_be_read_is_named(name: str, error: str, tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=error):
        read_input(tmp_path / name if name != "." else name)


def test_stdin_beyond_text_is_one_line() -> None:
    @click.command()
    def show() -> None:
        click.echo(read_input_text("-"))

    assert CliRunner().invoke(show, input="SELECT ü").stdout == "SELECT ü\n"
    result = CliRunner().invoke(show, input=io.BytesIO(b"SELECT \xff"))
    assert isinstance(result.exception, InputFileError)
    assert str(result.exception).startswith("- is not text in UTF-8")
