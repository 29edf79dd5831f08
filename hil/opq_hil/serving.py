"""Runs a host and its control socket until told to stop: for processes that do nothing else."""

import threading
from pathlib import Path

from opq_hil.control import Control
from opq_hil.host import BoxHost
from opq_proto.errors import OpqError


def serve(host: BoxHost, folder: Path | None, stop: threading.Event) -> None:
    """Host Boxes until `stop`, with a control socket in `folder`.

    Raises:
        PortBusyError: others run in `folder`.
    """
    if folder is None:
        host.run(stop)
        return
    ready = threading.Event()
    problems: list[BaseException] = []

    def control() -> None:
        try:
            Control(host, folder).run(stop, ready)
        except (OpqError, OSError) as error:
            problems.append(error)
            stop.set()
            ready.set()

    thread = threading.Thread(target=control, name="control")
    thread.start()
    try:
        ready.wait()
        if not problems:
            host.run(stop)
    finally:
        stop.set()
        thread.join()
    if problems:
        raise problems[0]
