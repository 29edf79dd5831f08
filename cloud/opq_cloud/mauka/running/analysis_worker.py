"""A process that runs the built-in analyses; `main` gets the file descriptor of its socket to Mauka.

Before each analysis it sends the name, so that Mauka knows which one hung or killed the process. It ends with
Mauka, when its socket is closed, or when it has used up its allowed memory.
"""

import os
import resource
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from opq_cloud.mauka.running.built_in_analyses import load_analyses
from opq_cloud.mauka.running.event_analysis import analyse_parts, first_findings, unjudged_by
from opq_cloud.mauka.running.provenance import provenance_of
from opq_plugins.sandbox.protection import end_with_parent
from opq_plugins.sdk.modules import Analysis
from opq_plugins.sdk.nouns import BatchResult, ItemBatch
from opq_proto.decision import Nominal
from opq_proto.messages import Event, Finding

READY = "ready"


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """The first message to the process.

    Attributes:
        entries: (analysis, its settings); empty: all in `folders`.
        folders: folders with analyses.
        memory_bytes: limit of its data; an analysis that needs more ends the process.
    """

    entries: tuple[tuple[str, dict[str, object]], ...]
    folders: tuple[Path, ...]
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class WorkerTask:
    """One event, in parts of equal nominal values; `left_out` names analyses that are not run.

    `order`: Boxes to analyse alone, one by one, until something is found; empty: all at once.
    """

    parts: tuple[tuple[Nominal, Event], ...]
    left_out: frozenset[str] = frozenset()
    order: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchTask:
    """Single items for one analysis; the answer is a BatchResult."""

    analysis: str
    batch: ItemBatch
    nominal: Nominal


@dataclass(frozen=True, slots=True)
class FirstFindings:
    """The findings of one Box of an event; the result follows."""

    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class WorkerResult:
    """Results of the analyses: findings, errors of those that failed, seconds of each, and `unjudged`."""

    findings: tuple[Finding, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    spent_s: dict[str, float] = field(default_factory=dict)
    unjudged: dict[str, str] = field(default_factory=dict)
    """Analysis -> why it could find nothing."""


def run_worker(pipe: Connection) -> None:
    """Analyses events until the socket is closed."""
    setup: WorkerSetup = pipe.recv()
    analyses = load_analyses(setup.entries, setup.folders, events_only=False)
    resource.setrlimit(resource.RLIMIT_DATA, (setup.memory_bytes, setup.memory_bytes))
    pipe.send(READY)
    states: dict[Any, Any] = {}
    while True:
        task: WorkerTask | BatchTask = pipe.recv()
        if isinstance(task, BatchTask):
            pipe.send(_batch_result(analyses, task, states))
            continue
        findings: list[Finding] = []
        failed: dict[str, str] = {}
        spent_s: dict[str, float] = {}
        unjudged: dict[str, str] = {}
        chosen = [one for one in analyses if one.takes == Event.__name__ and one.name not in task.left_out]
        try:
            first = first_findings(task.parts, task.order, chosen, pipe.send)
        except MemoryError:
            os._exit(1)
        if first:
            pipe.send(FirstFindings(tuple(first)))
        for analysis in chosen:
            pipe.send(analysis.name)
            began_s = time.perf_counter()
            found, error = analyse_parts(analysis, task.parts, {})
            if isinstance(error, MemoryError):
                os._exit(1)  # the end of the process frees whatever it holds
            findings += provenance_of(analysis).stamped(found)
            if error is not None:
                failed[analysis.name] = f"{type(error).__name__}: {error}"
            elif not found and (why := unjudged_by(analysis, task.parts)):
                unjudged[analysis.name] = why
            spent_s[analysis.name] = time.perf_counter() - began_s
        pipe.send(WorkerResult(tuple(findings), failed, spent_s, unjudged))


def _batch_result(analyses: Sequence[Analysis], task: BatchTask, states: dict[Any, Any]) -> BatchResult:
    analysis = next(each for each in analyses if each.name == task.analysis)
    try:
        return analysis.results_of(task.batch, task.nominal, states)
    except MemoryError:
        os._exit(1)  # the end of the process frees whatever it holds


def main(arguments: Sequence[str]) -> int:
    """Runs the process; returns the exit code."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for Mauka, which closes the socket
    try:
        run_worker(Connection(int(arguments[0])))
    except (EOFError, OSError):
        return 0  # Mauka ended
    return 1
