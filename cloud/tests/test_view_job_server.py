"""A process for dear work ends quietly when its client is gone first."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from opq_cloud.store import CloudStore, open_store
from opq_cloud.view.web import job_server

BEFORE_IT_IS_SEEN = f"""
import socket, sys
import {job_server.__name__} as server
server._end_with = lambda view: None
server._do(socket.socket(fileno=int(sys.argv[1])))
"""
"""A job that writes before the thread that ends it sees that View closed its end."""


def two_parts(store: CloudStore) -> Iterator[str]:
    yield from ("first", "second")


@pytest.mark.parametrize("is_sent", [True, False])
def test_a_client_that_left_leaves_no_traceback(tmp_path: Path, is_sent: bool) -> None:
    with closing(open_store(None, tmp_path)) as store:
        place = store.place
    ours, theirs = socket.socketpair()
    with ours, theirs:
        if is_sent:
            ours.sendall(job_server.packed(job_server.DearJob(place, two_parts, ())))
        ours.close()
        command = [sys.executable, "-c", BEFORE_IT_IS_SEEN, str(theirs.fileno())]
        environment = {"PYTHONPATH": str(Path(__file__).parent)}
        done = subprocess.run(
            command,
            check=False,
            pass_fds=[theirs.fileno()],
            capture_output=True,
            text=True,
            timeout=240,
            env=environment,
        )
    assert (done.returncode, done.stderr) == (0, "")
