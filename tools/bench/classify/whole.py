"""The whole run of `bench classify` in pieces: it resumes where it was ended, and prints one table.

    PYTHONPATH=tools python -m bench.classify.whole STATE.jsonl --seconds 600 --workers 2

Each judged recording is a line of STATE.jsonl. A run takes one recording of every class, noise and frequency
before the next of each, so that the results are balanced at any moment. The recording of a line that was cut
off is judged again. The first line identifies the seeds and the source text of `opq_measure`: another version
needs another file.
"""

import hashlib
import itertools
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import click

import opq_measure
from bench.classify.figures import (
    MINUTE,
    MINUTE_PER_CLASS,
    NOISY_DB,
    PER_CLASS,
    SEEDS,
    TOGETHER,
    TOGETHER_NAME,
    WANTED,
    answer_of,
)
from bench.classify.recordings import ALL_HZ, COMBINED, LONG, SHORT, SNR_DB, long_signal, short_signal
from bench.classify.scores import Judged, calibration_error, class_scores, macro_f1

SETS = {"short": SHORT, "combined": COMBINED, "long": LONG}
AT_ONCE = 8
"""Recordings queued per worker; those that an end interrupts are judged again."""


@dataclass(frozen=True, slots=True)
class RecordingKey:
    """One recording."""

    set: str
    snr_db: float
    kind: str
    hz: int
    index: int


def wanted_recordings(per_class: int, sets: tuple[str, ...]) -> Iterator[RecordingKey]:
    """Yields all keys, the first of each class, noise and frequency before the second of any."""
    for index in range(1, per_class + 1):
        for name, snr_db, hz in itertools.product(sets, SNR_DB, ALL_HZ):
            for kind in SETS[name]:
                if "noise" in kind.split("+") and snr_db < NOISY_DB:
                    continue
                if not (kind in MINUTE and index > MINUTE_PER_CLASS):
                    yield RecordingKey(name, snr_db, kind, hz, index)


def judge_recording(key: RecordingKey) -> tuple[RecordingKey, Judged]:
    make = long_signal if key.set == "long" else short_signal
    return key, answer_of(make(key.kind, key.hz, key.index, SEEDS[key.snr_db], key.snr_db), key.snr_db)


def source_digest() -> str:
    """Digest of the classifier's source text, so that one file holds the answers of one version."""
    digest = hashlib.blake2b(digest_size=8)
    folder = Path(opq_measure.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def read_state(path: Path, digest: str) -> dict[RecordingKey, Judged]:
    """Reads earlier answers; a new file gets its first line.

    Raises:
        click.ClickException: the file is of another version.
    """
    head = {"seeds": {f"{snr:g}": seed for snr, seed in SEEDS.items()}, "sources": digest}
    if not path.exists():
        path.write_text(json.dumps(head) + "\n")
        return {}
    first, *rows = path.read_text().split("\n")
    if json.loads(first or "{}") != head:
        raise click.ClickException(f"{path} has answers of another version of opq_measure; begin a new file")
    found = {}
    for row in rows:
        try:
            key, judged = json.loads(row)
        except ValueError:  # a killed run left half a line
            continue
        found[RecordingKey(**key)] = Judged(**judged)
    if rows and rows[-1]:
        with path.open("a") as file:
            file.write("\n")
    return found


def table(done: dict[RecordingKey, Judged]) -> str:
    """All figures so far: macro F1 and calibration error by set and noise, F1 by class and noise."""
    groups: dict[tuple[str, float], list[Judged]] = defaultdict(list)
    for key, judged in done.items():
        groups[key.set, key.snr_db].append(judged)
        if key.set in TOGETHER:
            groups[TOGETHER_NAME, key.snr_db].append(judged)
    lines = [
        f"{'set':<10}{'noise':>7}{'recordings':>12}{'macro F1':>10}{'wanted':>8}{'calibration error':>19}"
    ]
    for (name, snr_db), answers in sorted(groups.items()):
        lines.append(
            f"{name:<10}{snr_db:>4g} dB{len(answers):>12}{macro_f1(answers):>10.4f}{WANTED[snr_db]:>8g}"
            f"{calibration_error(answers):>19.4f}"
        )
    lines += ["", f"{'class':<44}{'set':<10}" + "".join(f"{f'{snr:g} dB':>16}" for snr in SNR_DB)]
    scores = {group: class_scores(answers) for group, answers in groups.items()}
    for name in SETS:
        for kind in SETS[name]:
            cells = [scores.get((name, snr), {}).get(kind) for snr in SNR_DB]
            if any(cells):
                shown = (f"{one.f1:.4f} of {one.count:>4}" if one else "-" for one in cells)
                lines.append(f"{kind:<44}{name:<10}" + "".join(f"{each:>16}" for each in shown))
    return "\n".join(lines)


@click.command()
@click.argument("state", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--per-class", default=PER_CLASS, show_default=True, help="At each frequency and noise.")
@click.option("--seconds", default=3600.0, show_default=True, help="After so long it ends, to go on later.")
@click.option("--workers", default=2, show_default=True)
@click.option("--set", "sets", multiple=True, type=click.Choice(list(SETS)), help="One set alone.")
def main(state: Path, per_class: int, seconds: float, workers: int, sets: tuple[str, ...]) -> None:
    """Judge what STATE does not hold yet, and print the table."""
    done = read_state(state, source_digest())
    every = list(wanted_recordings(per_class, sets or tuple(SETS)))
    waiting = [key for key in every if key not in done]
    until = time.monotonic() + seconds
    with state.open("a") as file, ProcessPoolExecutor(workers) as pool:
        while waiting and time.monotonic() < until:
            part, waiting = waiting[: AT_ONCE * workers], waiting[AT_ONCE * workers :]
            for key, judged in pool.map(judge_recording, part):
                done[key] = judged
                file.write(json.dumps([asdict(key), asdict(judged)]) + "\n")
            file.flush()
    wanted = set(every)
    click.echo(table({key: judged for key, judged in done.items() if key in wanted}))
    click.echo(f"\n{len(every) - len(waiting)} of {len(every)} recordings; {len(waiting)} are left")


if __name__ == "__main__":
    main()
