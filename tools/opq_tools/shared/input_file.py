"""Reads the file that a user names on the command line: whole, and of a bounded size."""

from pathlib import Path

import click

from opq_proto.errors import OpqError

LARGEST_BYTES = 64 << 20
"""The largest input; a device or a pipe may never end."""


class InputFileError(OpqError):
    """A named file cannot be read, is too large, or is not text in UTF-8."""


def read_input(path: Path | str, largest_bytes: int = LARGEST_BYTES) -> bytes:
    """Returns the content of a file, or of stdin where `path` is `-`. Raises InputFileError."""
    try:
        with click.open_file(str(path), "rb") as file:
            content: bytes = file.read(largest_bytes + 1)
    except OSError as error:
        raise InputFileError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(content) > largest_bytes:
        raise InputFileError(f"{path} has more than {largest_bytes >> 20} MiB; want a smaller file")
    return content


def read_input_text(path: Path | str, largest_bytes: int = LARGEST_BYTES) -> str:
    """Returns the text of a file in UTF-8, or of stdin where `path` is `-`. Raises InputFileError."""
    try:
        return read_input(path, largest_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputFileError(f"{path} is not text in UTF-8: {error}") from error
