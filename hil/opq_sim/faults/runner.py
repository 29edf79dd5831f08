"""Runner: schedules of a suite by seed, each in its own process, some side by side; a tally of all."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from opq_proto.errors import ConfigError, OpqError
from opq_sim.faults.parts.disk import OWN_MOUNTS, can_mount
from opq_sim.faults.suites import SUITES

Document = Mapping[str, Any]
PLAYS = 3
"""How often a schedule is played whose problems a busy machine may have made; the last verdict stands."""
LIMIT_S = 2400.0
"""Ends a schedule that hangs: a good one takes 15 s on an idle machine."""


def play(
    name: str,
    seeds: Sequence[int],
    folder: Path,
    on_document: Callable[[Document], None] = lambda _: None,
    side_by_side: int | None = None,
) -> list[Document]:
    """Plays the schedules of `seeds` in the suite of that name.

    `on_document` is called as each ends, one call at a time.

    The files of a schedule stay in `folder` if something is not accounted for.
    """
    mounted = can_mount()
    running: set[subprocess.Popen[str]] = set()
    lock = threading.Lock()
    interrupted = threading.Event()

    def one(seed: int) -> Document:
        place = folder / f"seed{seed}"
        for _ in range(PLAYS):
            shutil.rmtree(place, ignore_errors=True)  # of an earlier run of this seed
            place.mkdir(parents=True)
            with _started(name, seed, place, mounted) as world:
                running.add(world)
                document = _ended(name, world, seed)
                running.discard(world)
            if not document["undecided"] or interrupted.is_set():
                break
        if document["ok"]:
            shutil.rmtree(place)
        with lock:
            if not interrupted.is_set():
                on_document(document)
        return document

    with ThreadPoolExecutor(side_by_side or SUITES[name].side_by_side) as pool:
        futures = [pool.submit(one, seed) for seed in seeds]
        try:
            return [future.result() for future in futures]
        except BaseException:  # Ctrl-C: the pool would wait for its worlds
            interrupted.set()
            for future in futures:
                future.cancel()
            for world in list(running):
                world.kill()
            raise


def summarise(name: str, documents: Sequence[Document]) -> dict[str, Any]:
    """Counts of all schedules together, with the sums of the suite's `added`."""
    faults = Counter(fault["kind"] for document in documents for fault in document["faults"])
    totals = {
        figure: sum(int(each["figures"].get(figure, 0)) for each in documents)
        for figure in SUITES[name].added
    }
    return {
        "schedules": len(documents),
        "failed_seeds": [document["seed"] for document in documents if not document["ok"]],
        "faults": dict(sorted(faults.items())),
        **totals,
        "wall_s": round(sum(float(each["figures"].get("wall_s", 0.0)) for each in documents), 1),
    }


def line(name: str, document: Document) -> str:
    """One schedule in a line; below it each problem, with the faults that came before."""
    figures = defaultdict(int, document["figures"])
    kinds = ", ".join(fault["kind"] for fault in document["faults"])
    text = (
        f"{'ok' if document['ok'] else 'FAILED':<6} seed {document['seed']:<5} "
        f"{SUITES[name].came_to.format_map(figures)}, {figures['wall_s']} s: {kinds}"
    )
    return "\n".join([text, *(f"       {problem}" for problem in document["problems"])])


def _started(name: str, seed: int, folder: Path, mounted: bool) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "opq_sim.faults", name, str(seed), str(folder), str(os.getpid())]
    if mounted:
        command = [*OWN_MOUNTS, *command, "--mounted"]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def _ended(name: str, world: "subprocess.Popen[str]", seed: int) -> Document:
    try:
        out, errors = world.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        world.kill()
        out, errors = world.communicate()
        errors += f"\nnot ended within {LIMIT_S:g} s"
    try:
        document: Document = json.loads(out)
    except ValueError:
        last = (errors.strip().splitlines() or ["no word"])[-1]
        return {
            **SUITES[name].draw(seed).document(),
            "ok": False,
            "undecided": False,
            "problems": [f"the world itself failed: {last}"],
            "figures": {},
        }
    return document


class SeedLog:
    """The verdicts of played seeds in one file; one thread writes at a time.

    Attributes:
        played: seed -> its verdict.
    """

    def __init__(self, path: Path, name: str) -> None:
        """`name`: of the suite.

        Raises:
            ConfigError: a line is not a verdict, or its seed has another schedule now.
            OpqError: the file cannot be read or written.
        """
        self.played: dict[int, Document] = {}
        self._path = path
        try:
            text = path.read_text(encoding="utf-8") if path.exists() else ""
            whole = text[: text.rfind("\n") + 1]
            if whole != text:
                path.write_text(whole, encoding="utf-8")
        except OSError as error:
            raise OpqError(f"{path} cannot be used: {error.strerror}") from error
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                document = json.loads(line)
                seed, faults, _ = int(document["seed"]), document["faults"], document["ok"]
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigError(f"{path}, line {number}: this is not a verdict of a seed") from error
            if faults != json.loads(json.dumps(SUITES[name].draw(seed).document()["faults"])):
                raise ConfigError(
                    f"{path}, line {number}: seed {seed} has other faults now; use another file"
                )
            self.played[seed] = document

    def add(self, document: Document) -> None:
        """Adds the verdict of a seed.

        Raises:
            OpqError: the file cannot be written.
        """
        self.played[int(document["seed"])] = document
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(document) + "\n")
        except OSError as error:
            raise OpqError(f"{self._path} cannot be written: {error.strerror}") from error
