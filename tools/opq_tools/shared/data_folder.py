"""A data folder has one writer: `up`, or a history that is made in it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from opq_proto.errors import OpqError
from opq_proto.kit.system_record import refuse_unfinished
from opq_proto.kit.whole_file import link_problem

LOCK_NAME = "up.lock"


class InUseError(OpqError):
    """Another command writes to the same data folder, or none can."""


@contextmanager
def in_use_by_this(data_dir: Path, option: str = "--data-dir", beside: str = "") -> Iterator[None]:
    """Makes the data folder if there is none, and locks it; the lock ends with the process.

    Args:
        option: the command's option for the folder.
        beside: what a second run beside this one needs in addition, for its error.
    Raises:
        InUseError: another `up` or `sim history` holds it, it cannot be made or written, or its name is not
            UTF-8.
        UnfinishedRestoreError: a restore was broken off there.
    """
    refuse_unfinished(data_dir)
    try:
        str(data_dir).encode("utf-8")
    except UnicodeEncodeError as error:  # configuration files could not name it
        raise InUseError(
            f"the data folder {str(data_dir)!r} cannot be used: its name is not UTF-8; "
            f"give another by {option}"
        ) from error
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / LOCK_NAME).open("a")
    except OSError as error:
        reason = link_problem(data_dir) or error.strerror
        raise InUseError(
            f"the data folder {data_dir} cannot be used: {reason}; give another by {option}"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InUseError(
                f"another `opq-tools up` or `sim history` works in {data_dir}: end it, "
                f"or give another {option}{beside}"
            ) from error
        yield
