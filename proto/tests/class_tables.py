"""Answers of `classify` for the signals of other makers and for pairs, and the page of their tables.

    pip install pypqd==0.1.2
    python proto/tests/class_tables.py docs/classes-tables.md

All sets take some minutes of one core.
"""

import importlib
import itertools
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from class_scores import Judged, class_scores, macro_f1
from foreign_signals import MODEL, PYPQD, ForeignSignal, model_signal, pypqd_signal
from pair_signals import NOISE_DB, pair_signals

from opq_measure.classification.classifier import classify

SECONDS = (0.2, 0.4)
MAKERS = {"model": "Integral model (29 classes)", "pypqd": "pypqd"}
ALL_HZ = (50, 60)
PER_CLASS = 6
"""Signals of each class at each frequency."""
APART_EVERY = 3
"""So many of those at a limit or of another definition are left to one that is classified."""
FIRST = 1000
"""Index of the first signal; rules were made with others."""
PAIR_SEEDS = (1, 2, 3)
"""Of pairs; the last one was not looked at while rules were mended."""
BINS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.01)


PAGE = "classes-accuracy" + ".md"  # beside the page of the tables, not beside this file
INTRODUCTION = """\
Written by `python proto/tests/class_tables.py docs/classes-tables.md` with the classes at commit {commit}.
All signals have noise of 30 dB. Rules were made with other signals; of the pairs, seeds 1 and 2 were looked
at while rules were mended, and seed 3 was not. A cell has the number of signals, and the wrong answers.
[Accuracy]({page}#signals-of-other-makers) describes the makers and why a signal is set apart (a
cell has how many of them get the standard's class, of every third one that is long enough)."""
PAIRS_ARE = """\
0.2 and 0.4 s at 3.2 to 25.6 kHz; [accuracy]({page}#pairs-of-disturbances) describes them. A pair
is whole if its answer has both classes and no third."""


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


def signals(maker: str, seconds: float) -> Iterator[ForeignSignal]:
    """The signals of another maker."""
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
    return [
        answer_of(signal)
        for number, signal in enumerate(signals(maker, seconds))
        if is_knowable(signal) or number % APART_EVERY == 0
    ]


def answer_of(signal: ForeignSignal) -> Answer:
    found = classify(signal.volts, signal.rate_hz, signal.nominal_v, signal.nominal_hz)
    return Answer(signal.label, signal.apart, found.kind, found.confidence)


def pair_answers(seed: int) -> list[Answer]:
    """What is found in the pairs that are fair."""
    return [answer_of(signal) for signal in pair_signals(seed) if signal.apart is None]


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


def page() -> Iterator[str]:
    """The lines of the page."""
    found = {maker: {f"{seconds:g} s": answers(maker, seconds) for seconds in SECONDS} for maker in MAKERS}
    git = subprocess.run(
        ["git", "rev-parse", "--short=9", "HEAD"], check=True, capture_output=True, text=True
    )
    yield "# Tables of the classes"
    yield ""
    yield from INTRODUCTION.format(commit=git.stdout.strip(), page=PAGE).splitlines()
    for maker, by_length in found.items():
        yield from ("", f"## {MAKERS[maker]}", "")
        yield from confusion_table(by_length)
        yield ""
        yield from apart_table(by_length)
    pairs = {f"seed {seed}": pair_answers(seed) for seed in PAIR_SEEDS}
    yield from ("", "## Pairs of disturbances", "")
    yield from PAIRS_ARE.format(page=PAGE).splitlines()
    yield ""
    yield from confusion_table(pairs)
    yield ""
    yield "Whole pairs: " + ", ".join(f"{whole(each)} of {head}" for head, each in pairs.items()) + "."


def whole(found: Sequence[Answer]) -> str:
    """How many have both classes and no third."""
    right = sum(each.truth == each.found for each in found)
    return f"{right} of {len(found)} ({100 * right / len(found):.1f} %)"


def main() -> None:
    Path(sys.argv[1]).write_text("\n".join(page()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
