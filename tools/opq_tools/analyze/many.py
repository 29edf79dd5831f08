"""Many recordings: one line of JSON each, by some processes here or the workers of a Dask scheduler.

A run that was ended goes on where it stopped: the lines that are in the file already are kept, as long as the
recording (its size and its time of change) and the options are still the same.
"""

import hashlib
import json
import multiprocessing
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from opq_analyze.measuring import Wanted, measured
from opq_measure.events.limits import Limits
from opq_proto.errors import OpqError, RecordingError
from opq_recordings.facts import RecordingFacts
from opq_recordings.reading import read_recording
from opq_tools.progress import shown_progress

ONE_LINE = "a line per recording; opq-tools analyze of the one recording has it"
LISTS = ("cycles", "half_cycles")
AHEAD = 4
"""Recordings handed out for each process at a time, so that none waits."""
LONGEST_S = 3600.0
"""So long a run waits for the workers of a scheduler before it looks again."""
Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Order:
    """What is measured of every recording."""

    given: RecordingFacts
    limits: Limits
    only: tuple[str, ...]

    @property
    def mark(self) -> str:
        """Names the options; lines of other ones are made again."""
        text = json.dumps([asdict(self.given), asdict(self.limits), self.only], default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def line_of(path: Path, order: Order) -> Line:
    """The line of one recording: the document of `analyze`, or `error`. Runs in a process of its own."""
    made: Line | None = None
    try:
        known = path.stat()
        made = {"bytes": known.st_size, "mtime_ns": known.st_mtime_ns, "options": order.mark}
        recording = read_recording(path, order.given)
        found = measured(recording, order.limits, wanted=Wanted(order.only, False))
        document = found.summary(str(path)) | dict.fromkeys(LISTS)
        left_out = {**found.left_out, **dict.fromkeys(LISTS, ONE_LINE)}
        if recording.others:
            left_out["recordings"] = ", ".join(recording.others)
        return document | {"left_out": left_out, "made_of": made}
    except (OpqError, OSError) as error:
        why = str(error).removeprefix(f"{path}: ").removeprefix(str(path)).lstrip(", ")
        return {"file": str(path), "error": why, "made_of": made}


def analyse_many(
    paths: Sequence[Path], order: Order, out: Path, jobs: int, scheduler: str | None
) -> tuple[list[Line], int]:
    """Analyses the recordings whose line is not in `out` yet, and adds each line as soon as it is there.

    Returns:
        The lines of all recordings, in the order of `paths`, and how many were there already.
    Raises:
        OSError: `out` cannot be read or written.
        OpqError: no scheduler, or it was lost; the lines so far are in `out`.
    """
    lines = _lines_kept(out, order)
    kept = {
        path: lines[str(path)] for path in paths if str(path) in lines and _is_current(path, lines[str(path)])
    }
    wanted = [path for path in paths if path not in kept]
    found = dict(kept)
    with (
        out.open("a", encoding="utf-8") as file,
        shown_progress("analysing recordings", len(wanted), lines=True) as show,
    ):
        for done, line in enumerate(_made(wanted, order, jobs, scheduler), 1):
            file.write(json.dumps(line, allow_nan=False) + "\n")
            file.flush()
            found[Path(line["file"])] = line
            show(done)
    return [found[path] for path in paths], len(kept)


def _lines_kept(out: Path, order: Order) -> dict[str, Line]:
    """The lines of a former run with the same options; one that was cut short is removed from the file."""
    if not out.exists():
        return {}
    found: dict[str, Line] = {}
    whole = 0
    with out.open("rb") as file:
        for text in file:
            try:
                line = json.loads(text)
                name, made = line["file"], line["made_of"]
            except (ValueError, KeyError, TypeError) as error:
                if not text.endswith(b"\n"):
                    break  # the run was killed while it wrote
                raise RecordingError(
                    f"{out}: is no file of opq-tools analyze --jsonl; name another"
                ) from error
            whole += len(text)
            if isinstance(made, dict) and made.get("options") == order.mark:
                found[name] = line
    with out.open("r+b") as file:
        file.truncate(whole)
    return found


def _is_current(path: Path, line: Line) -> bool:
    try:
        now = path.stat()
    except OSError:
        return False
    made = line["made_of"]
    return bool(made["bytes"] == now.st_size and made["mtime_ns"] == now.st_mtime_ns)


def _made(paths: Sequence[Path], order: Order, jobs: int, scheduler: str | None) -> Iterator[Line]:
    """The lines as they are finished."""
    if scheduler is not None:
        yield from _by_dask(paths, order, scheduler)
    elif jobs == 1 or len(paths) < 2:
        yield from (line_of(path, order) for path in paths)
    else:
        yield from _by_processes(paths, order, jobs)


def _by_processes(paths: Sequence[Path], order: Order, jobs: int) -> Iterator[Line]:
    """By processes of this machine; what was in hand when one was lost is tried again, each alone."""
    left = deque(paths)
    while left:
        in_hand: dict[Future[Line], Path] = {}
        lost: list[Path] = []
        with _pool(min(jobs, len(left))) as pool:
            while (left or in_hand) and not lost:
                while left and len(in_hand) < jobs * AHEAD:
                    path = left.popleft()
                    try:
                        in_hand[pool.submit(line_of, path, order)] = path
                    except BrokenExecutor:
                        lost.append(path)
                        break
                for future in wait(in_hand, return_when=FIRST_COMPLETED).done:
                    path = in_hand.pop(future)
                    try:
                        yield future.result()
                    except BrokenExecutor:
                        lost.append(path)
        for path in (*lost, *in_hand.values()):
            with _pool(1) as pool:
                try:
                    yield pool.submit(line_of, path, order).result()
                except BrokenExecutor:
                    yield _failed(path, "its process was lost; is there enough memory for it?")


def _pool(processes: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))


def _by_dask(paths: Sequence[Path], order: Order, scheduler: str) -> Iterator[Line]:
    """At the workers of a Dask scheduler, which try a lost recording again."""
    from opq_cloud.mauka.bulk.dask_workers import DaskWorkers, dask_client

    left = deque(paths)
    in_hand: dict[Future[Line], Path] = {}
    with dask_client(scheduler) as client:
        workers = DaskWorkers(client)
        while left or in_hand:
            while left and len(in_hand) < AHEAD * max(1, workers.workers):
                path = left.popleft()
                in_hand[workers.submit(None, line_of, path.resolve(), order)] = path
            workers.wait(list(in_hand), LONGEST_S)
            for future in [each for each in in_hand if each.done()]:
                path = in_hand.pop(future)
                error = future.exception()
                yield (
                    _failed(path, f"its worker failed: {error}")
                    if error
                    else future.result() | {"file": str(path)}
                )


def _failed(path: Path, why: str) -> Line:
    return {"file": str(path), "error": why, "made_of": None}
