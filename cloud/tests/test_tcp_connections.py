"""A connection of libzmq by its number, which may be another file's by now."""

import os
from pathlib import Path

from opq_cloud.core.backend.tcp_connections import remote_address, shut_down


def test_a_number_reused_by_a_file_is_released(tmp_path: Path) -> None:
    """Hostile connections otherwise leave a descriptor each time that their number was reused."""
    with (tmp_path / "file").open("w") as file:
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        for _ in range(10):
            assert remote_address(file.fileno()) is None
            assert not shut_down(file.fileno(), ("127.0.0.1", 1))
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
