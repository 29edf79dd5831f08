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
from opq_proto.visible_text import visible
from opq_recordings.facts import RecordingFacts
from opq_recordings.reading import recordings_in
from opq_recordings.recording import Recording
from opq_tools.shared.progress import shown_progress

ONE_LINE = "a line per recording; opq-tools analyze of the one recording has it"
LISTS = ("cycles", "half_cycles")
RECORDINGS_AHEAD = 4
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


def lines_of(path: Path, order: Order) -> list[Line]:
    """A line for each recording of a file. Runs in its own process."""
    made: Line | None = None
    try:
        known = path.stat()
        made = {"bytes": known.st_size, "mtime_ns": known.st_mtime_ns, "options": order.mark}
        several = recordings_in(path, order.given)
    except (OpqError, OSError) as error:
        return [_fault(path, error, made)]
    if len(several) == 1:
        return [_line(path, several[0], order, made)]
    return [
        _line(path, each, order, {**made, "recording": number, "recordings": len(several)})
        for number, each in enumerate(several, 1)
    ]


def _line(path: Path, recording: Recording | RecordingError, order: Order, made: Line) -> Line:
    """The document of `analyze`, or `error`."""
    try:
        if isinstance(recording, RecordingError):
            raise recording
        found = measured(recording, order.limits, wanted=Wanted(order.only, False))
        document = found.summary(str(path)) | dict.fromkeys(LISTS)
        left_out = {**found.left_out, **dict.fromkeys(LISTS, ONE_LINE)}
        return document | {"left_out": left_out, "made_of": made}
    except (OpqError, OSError) as error:
        return _fault(path, error, made)


def _fault(path: Path, error: Exception, made: Line | None) -> Line:
    name = visible(str(path))
    why = str(error).removeprefix(f"{name}: ").removeprefix(name).lstrip(", ")
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
        path: former
        for path in paths
        if (former := list(lines.get(str(path), {}).values())) and _is_current(path, former)
    }
    wanted = [path for path in paths if path not in kept]
    found = dict(kept)
    with (
        out.open("a", encoding="utf-8") as file,
        shown_progress("analysing recordings", len(wanted), lines=True) as show,
    ):
        for done, made in enumerate(_made(wanted, order, jobs, scheduler), 1):
            file.writelines(json.dumps(line, allow_nan=False) + "\n" for line in made)
            file.flush()
            found[Path(made[0]["file"])] = made
            show(done)
    return [line for path in paths for line in found[path]], sum(len(each) for each in kept.values())


def _lines_kept(out: Path, order: Order) -> dict[str, dict[int, Line]]:
    """The lines of a former run with the same options, by file and number of the recording in it.

    One that was cut short is removed from the file.
    """
    if not out.exists():
        return {}
    found: dict[str, dict[int, Line]] = {}
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
                    f"{out}: is not a file of opq-tools analyze --jsonl; name another"
                ) from error
            whole += len(text)
            if isinstance(made, dict) and made.get("options") == order.mark:
                of_file = found.setdefault(name, {})
                if any(each["made_of"]["mtime_ns"] != made["mtime_ns"] for each in of_file.values()):
                    of_file.clear()
                of_file[made.get("recording", 1)] = line
    with out.open("r+b") as file:
        file.truncate(whole)
    return found


def _is_current(path: Path, lines: Sequence[Line]) -> bool:
    """Whether these are all lines of a file as it is now."""
    try:
        now = path.stat()
    except OSError:
        return False
    made = [line["made_of"] for line in lines]
    return all(
        each["bytes"] == now.st_size
        and each["mtime_ns"] == now.st_mtime_ns
        and each.get("recordings", 1) == len(made)
        for each in made
    )


def _made(paths: Sequence[Path], order: Order, jobs: int, scheduler: str | None) -> Iterator[list[Line]]:
    """The lines of each file as they are finished."""
    if scheduler is not None:
        yield from _by_dask(paths, order, scheduler)
    elif jobs == 1 or len(paths) < 2:
        yield from (lines_of(path, order) for path in paths)
    else:
        yield from _by_processes(paths, order, jobs)


def _by_processes(paths: Sequence[Path], order: Order, jobs: int) -> Iterator[list[Line]]:
    """By processes of this machine; what was in hand when one was lost is tried again, each alone."""
    left = deque(paths)
    while left:
        in_hand: dict[Future[list[Line]], Path] = {}
        lost: list[Path] = []
        with _pool(min(jobs, len(left))) as pool:
            while (left or in_hand) and not lost:
                while left and len(in_hand) < jobs * RECORDINGS_AHEAD:
                    path = left.popleft()
                    try:
                        in_hand[pool.submit(lines_of, path, order)] = path
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
                    yield pool.submit(lines_of, path, order).result()
                except BrokenExecutor:
                    yield [_failed(path, "its process was lost; is there enough memory for it?")]


def _pool(processes: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))


def _by_dask(paths: Sequence[Path], order: Order, scheduler: str) -> Iterator[list[Line]]:
    """At the workers of a Dask scheduler, which try a lost recording again."""
    from opq_cloud.mauka.bulk.dask_workers import DaskWorkers, dask_client

    left = deque(paths)
    in_hand: dict[Future[list[Line]], Path] = {}
    with dask_client(scheduler) as client:
        workers = DaskWorkers(client)
        while left or in_hand:
            while left and len(in_hand) < RECORDINGS_AHEAD * max(1, workers.workers):
                path = left.popleft()
                in_hand[workers.submit(None, lines_of, path.resolve(), order)] = path
            workers.wait(list(in_hand), LONGEST_S)
            for future in [each for each in in_hand if each.done()]:
                path = in_hand.pop(future)
                error = future.exception()
                yield (
                    [_failed(path, f"its worker failed: {error}")]
                    if error
                    else [line | {"file": str(path)} for line in future.result()]
                )


def _failed(path: Path, why: str) -> Line:
    return {"file": str(path), "error": why, "made_of": None}
