"""Answers of `classify` for the signals of all makers, and the page of their tables.

    python proto/tests/class_tables.py docs/classes-tables.md ANSWERS [--there]

ANSWERS is a folder; a set whose answers by today's code are there already is not classified again, and with
--there no other is. All sets take five minutes of one core. `pypqd` is left out where it is not installed,
ArkArya's sets where the environment has no OPQ_ARKARYA, the folder that `arkarya_signals.m` writes.
"""

import hashlib
import importlib.util
import itertools
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from class_scores import Judged, class_scores, macro_f1
from foreign_signals import ARKARYA, MODEL, PYPQD, ForeignSignal, arkarya_signals, model_signal, pypqd_signal
from labelled_recordings import ALL_HZ, COMBINED, SHORT, short_signal

import opq_measure
from opq_measure.classification.classifier import classify

NOISE_DB = 30.0
SECONDS = (0.2, 0.4, 1.0)
OURS = "ours, 0.5 to 3 s"
MAKERS = {
    "model": "Integral model (29 classes)",
    "pypqd": "pypqd",
    "plain": "ArkArya, 50 Hz",
    "frequencies": "ArkArya, 48 to 52 Hz",
}
PER_CLASS, OURS_PER_CLASS = 6, 5
"""Signals of each class at each frequency."""
APART_EVERY = 3
"""So many of those at a limit or of another definition are left to one that is classified."""
FIRST, OURS_SEED = 1000, 921_130
"""Index of the first signal, and the seed of ours; rules were made with others."""
BINS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.01)


INTRODUCTION = """\
Written by `python proto/tests/class_tables.py docs/classes-tables.md ANSWERS`. All signals have noise of
30 dB. Rules were made with other seeds; signals of ArkArya and one seed of our own were also looked at while
rules were mended. A cell has the number of signals, and the wrong answers.
[Accuracy]({page}#signals-of-other-makers) describes the makers and why a signal is set apart (a cell has how
many of them get the standard's class, of every third one that is long enough). At 0.4 and 1 s, signals of
ArkArya are their equations beyond the 0.2 s of their files."""
RELIABILITY = """\
Mean confidence: share of right answers, of how many; all makers, without signals at a limit or of another
definition. The last column is our own generator."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the class is by the standard, why it is set apart or None, and what was found."""

    truth: str
    apart: str | None
    found: str
    confidence: float

    @property
    def judged(self) -> Judged:
        return Judged(self.truth, self.found, self.confidence)


def missing(maker: str) -> str | None:
    """Why the signals of a maker cannot be had here, or None."""
    if maker == "pypqd" and importlib.util.find_spec("pypqd") is None:
        return "pypqd is not installed (GPL, from PyPI)"
    if maker in ARKARYA and not os.environ.get("OPQ_ARKARYA"):
        return "OPQ_ARKARYA is not set: a folder of signals that proto/tests/arkarya_signals.m wrote"
    return None


def signals(maker: str, seconds: float) -> Iterator[ForeignSignal]:
    """The signals of another maker."""
    if maker in ARKARYA:
        yield from arkarya_signals(Path(os.environ["OPQ_ARKARYA"]), maker, seconds, NOISE_DB)
        return
    for name in MODEL if maker == "model" else PYPQD:
        for hz in ALL_HZ:
            for index in range(FIRST, FIRST + PER_CLASS):
                if maker == "model":
                    yield model_signal(name, hz, round(seconds * hz), index, NOISE_DB)
                else:
                    synthetic: Any = importlib.import_module("pypqd.synthetic")
                    make = getattr(synthetic, name)
                    yield pypqd_signal(make, name, hz, round(seconds * hz), index, NOISE_DB)


def is_knowable(each: Answer | ForeignSignal) -> bool:
    """Not at a limit, and not of another definition; fewer than three swings are what a length can show."""
    return each.apart is None or "three swings" in each.apart


def answers(maker: str, seconds: float) -> list[Answer]:
    """What is found in them."""
    found = []
    for number, signal in enumerate(signals(maker, seconds)):
        if not is_knowable(signal) and number % APART_EVERY:
            continue
        one = classify(signal.volts, signal.rate_hz, signal.nominal_v, signal.nominal_hz)
        found.append(Answer(signal.label, signal.apart, one.kind, one.confidence))
    return found


def own_answers() -> list[Answer]:
    """What is found in our own generator's."""
    found = []
    for kind in (*SHORT, *COMBINED):
        for hz in ALL_HZ:
            for index in range(1, OURS_PER_CLASS + 1):
                signal = short_signal(kind, hz, index, OURS_SEED, NOISE_DB)
                one = classify(signal.volts, 12_000.0, signal.nominal_v, signal.nominal_hz)
                found.append(Answer(kind, None, one.kind, one.confidence))
    return found


@cache
def code_of_answers() -> str:
    """Names the code and the numbers that answers depend on: those of other code are not shown with them."""
    digest = hashlib.sha256(
        repr((NOISE_DB, PER_CLASS, OURS_PER_CLASS, APART_EVERY, FIRST, OURS_SEED)).encode()
    )
    here = Path(__file__).parent
    measuring = sorted(Path(opq_measure.__file__).parent.rglob("*.py"))
    for path in (here / "foreign_signals.py", here / "labelled_recordings.py", *measuring):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def kept(folder: Path, maker: str, seconds: float, there: bool = False) -> list[Answer]:
    """The answers in the folder, or those that are found now and put there; with `there` none of these."""
    path = folder / f"{maker}-{seconds:g}-{code_of_answers()}.json"
    if not path.exists():
        if there:
            return []
        found = own_answers() if maker == "ours" else answers(maker, seconds)
        path.write_text(json.dumps([astuple(each) for each in found]), encoding="utf-8")
    return [Answer(*each) for each in json.loads(path.read_text(encoding="utf-8"))]


def confusion_table(by_length: dict[str, list[Answer]]) -> Iterator[str]:
    """A row per class: for each length how many, and what they were taken for where not all are right."""
    fair = {head: [each.judged for each in found if each.apart is None] for head, found in by_length.items()}
    scores = {head: class_scores(judged) for head, judged in fair.items()}
    f1 = {head: f"{macro_f1(judged):.3f} of {len(judged)}" for head, judged in fair.items()}
    yield "| class | " + " | ".join(by_length) + " |"
    yield "|---|" + "---|" * len(by_length)
    for kind in sorted({kind for each in scores.values() for kind in each}):
        cells = []
        for each in scores.values():
            score = each.get(kind)
            taken = "; ".join(f"{count} as {found}" for found, count in score.taken_for) if score else ""
            cells.append("" if score is None else f"{score.count}, {taken}" if taken else str(score.count))
        yield f"| {kind} | " + " | ".join(cells) + " |"
    yield "| **macro F1** | " + " | ".join(f"**{each}**" for each in f1.values()) + " |"


def apart_table(by_length: dict[str, list[Answer]]) -> Iterator[str]:
    """A row per reason: how many were set apart, and how many of these have the standard's class."""
    counts: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for head, found in by_length.items():
        for each in found:
            if each.apart is not None:
                counts[each.apart][head].append(each.truth == each.found)
    if counts:
        yield "| set apart | " + " | ".join(by_length) + " |"
        yield "|---|" + "---|" * len(by_length)
    for why, right in sorted(counts.items()):
        cells = [f"{sum(right[head])} of {len(right[head])}" if head in right else "" for head in by_length]
        yield f"| {why} | " + " | ".join(cells) + " |"


def reliability_table(by_length: dict[str, list[Answer]]) -> Iterator[str]:
    """A row per range of the confidence: for each length its mean, the share that is right, and how many."""
    yield "| confidence | " + " | ".join(by_length) + " |"
    yield "|---|" + "---|" * len(by_length)
    for low, high in itertools.pairwise(BINS):
        cells = [
            _reliability([each for each in found if low <= each.confidence < high])
            for found in by_length.values()
        ]
        yield f"| {low:g} to {min(high, 1.0):g} | " + " | ".join(cells) + " |"
    yield "| all | " + " | ".join(_reliability(found) for found in by_length.values()) + " |"


def _reliability(found: Sequence[Answer]) -> str:
    if not found:
        return ""
    sure = sum(each.confidence for each in found) / len(found)
    right = sum(each.truth == each.found for each in found) / len(found)
    return f"{sure:.2f}: {right:.2f} of {len(found)}"


def f1_table(found: dict[str, dict[str, list[Answer]]]) -> Iterator[str]:
    """A row per maker: macro F1 of its fair signals by length, and how many they are."""
    yield "| maker | " + " | ".join(f"{seconds:g} s" for seconds in SECONDS) + " |"
    yield "|---|" + "---|" * len(SECONDS)
    for maker, by_length in found.items():
        fair = [
            [each.judged for each in by_length.get(f"{seconds:g} s", ()) if each.apart is None]
            for seconds in SECONDS
        ]
        cells = [f"{macro_f1(judged):.3f} of {len(judged)}" if judged else "" for judged in fair]
        yield f"| {MAKERS[maker]} | " + " | ".join(cells) + " |"


def page(folder: Path, there: bool) -> Iterator[str]:
    """The lines of the page."""
    found = {
        maker: {
            f"{seconds:g} s": some
            for seconds in SECONDS
            if (some := kept(folder, maker, seconds, there or missing(maker) is not None))
        }
        for maker in MAKERS
    }
    own = kept(folder, "ours", 0, there)
    yield "# Tables of the classes"
    yield ""
    yield from INTRODUCTION.format(page="classes-accuracy.md").splitlines()
    yield ""
    yield from f1_table(found)
    for maker, by_length in found.items():
        if by_length:
            yield from ("", f"## {MAKERS[maker]}", "")
            yield from confusion_table(by_length)
            yield ""
            yield from apart_table(by_length)
    if own:
        yield from ("", "## Our own generator", "")
        yield from confusion_table({OURS: own})
    yield from ("", "## How often a confidence is right", "")
    yield from RELIABILITY.splitlines()
    yield ""
    pooled = {
        f"{seconds:g} s": [
            each for sets in found.values() for each in sets.get(f"{seconds:g} s", ()) if is_knowable(each)
        ]
        for seconds in SECONDS
    }
    yield from reliability_table({**pooled, OURS: own})


def main() -> None:
    target, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join(page(folder, "--there" in sys.argv)) + "\n", encoding="utf-8")
    for why in filter(None, map(missing, MAKERS)):
        print(f"not classified: {why}")


if __name__ == "__main__":
    main()
