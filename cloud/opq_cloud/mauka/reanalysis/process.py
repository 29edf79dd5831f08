"""The process of one re-analysis; `main` gets the number of its socket to the process that ordered it.

It runs at a lower priority than the services, and ends with the process that ordered it: replaced events stay
replaced, and the same order goes on from there.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

from opq_cloud.config import CloudConfig
from opq_cloud.mauka.reanalysis.report_json import report_json
from opq_cloud.mauka.reanalysis.run import run_reanalysis
from opq_cloud.reanalysis_order import ReanalysisOrder
from opq_cloud.store import open_store
from opq_plugins.sandbox.protection import end_with_parent
from opq_proto.config import default_data_dir
from opq_proto.errors import OpqError

NICE = 10
PROGRESS_S = 0.5
MAX_CHANGES = 1000
"""Limit for each list of the report; the sums count all."""


@dataclass(frozen=True, slots=True)
class ReanalysisProgress:
    """Number of events that are analysed, and of all."""

    done: int
    of: int


@dataclass(frozen=True, slots=True)
class ReanalysisEnd:
    """The end of a re-analysis: its report, or the error that ended it."""

    report: dict[str, object] | None
    error: str | None = None


def run_order(pipe: Connection) -> None:
    """Reads the order, sends progress, sends the end."""
    config: CloudConfig
    order: ReanalysisOrder
    config, order = pipe.recv()

    @contextmanager
    def showing(total: int) -> Iterator[Callable[[int], None]]:
        next_s = 0.0

        def show(done: int) -> None:
            nonlocal next_s
            if time.monotonic() >= next_s or done == total:
                next_s = time.monotonic() + PROGRESS_S
                pipe.send(ReanalysisProgress(done, total))

        yield show

    data_dir = config.store.data_dir or config.data_dir or default_data_dir()
    try:
        with closing(open_store(config.store.mongo_uri, data_dir)) as store:
            report = run_reanalysis(config, store, order, showing=showing)
        pipe.send(ReanalysisEnd(report_json(report, order.dry_run, MAX_CHANGES)))
    except (OpqError, ValueError) as error:  # a wrong name or setting, or the store
        pipe.send(ReanalysisEnd(None, str(error)))


def main(arguments: Sequence[str]) -> int:
    """Runs the process; returns the exit code."""
    end_with_parent()
    os.nice(NICE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the services, which close the socket
    try:
        run_order(Connection(int(arguments[0])))
    except (EOFError, OSError):
        return 1
    return 0
