"""How well signals that other hands define are classified: the integral model's 29 classes, and `pypqd`.

`foreign_signals.py` has the definitions and why a signal is set apart; docs/classes.md has the tables of a
larger run. `pytest -s -m slow` prints F1, what each class was taken for, and the confidence by length.
"""

from collections import defaultdict
from functools import cache
from typing import Any

import numpy as np
import pytest
from class_scores import Judged, class_scores, macro_f1
from foreign_signals import MODEL, PYPQD, ForeignSignal, Parts, model_signal, pypqd_signal, standard_label

from opq_measure.classification.classifier import classify

NOISE_DB = 30.0
ALL_HZ = (50, 60)
PER_CLASS = 6
"""Signals of each class at each frequency in a slow run."""
FIRST = 1000
"""Index of the first signal; rules were made with smaller ones."""
MIN_F1 = {0.2: 0.95, 0.4: 0.98, 1.0: 0.98}
"""Length in seconds -> least macro F1 of the fair signals."""


def judged(signal: ForeignSignal) -> Judged:
    found = classify(signal.volts, signal.rate_hz, signal.nominal_v, signal.nominal_hz)
    return Judged(signal.label, found.kind, found.confidence)


@cache
def judged_set(maker: str, seconds: float) -> tuple[list[Judged], dict[str, list[Judged]]]:
    """The answers for fair signals, and for those set apart by the reason."""
    fair: list[Judged] = []
    apart: dict[str, list[Judged]] = defaultdict(list)
    for name in MODEL if maker == "model" else PYPQD:
        for hz in ALL_HZ:
            for index in range(FIRST, FIRST + PER_CLASS):
                signal = made(maker, name, hz, round(seconds * hz), index)
                (fair if signal.apart is None else apart[signal.apart]).append(judged(signal))
    return fair, apart


def made(maker: str, name: str, hz: int, cycles: int, index: int) -> ForeignSignal:
    if maker == "model":
        return model_signal(name, hz, cycles, index, NOISE_DB)
    synthetic: Any = pytest.importorskip("pypqd.synthetic", reason="pypqd is not installed (GPL, from PyPI)")
    return pypqd_signal(getattr(synthetic, name), name, hz, cycles, index, NOISE_DB)


@pytest.mark.parametrize(("hz", "cycles", "every"), [(50, 10, 1), (60, 24, 3)])
def test_one_signal_of_each_class_of_the_integral_model(hz: int, cycles: int, every: int) -> None:
    signals = [model_signal(name, hz, cycles, 1, NOISE_DB) for name in list(MODEL)[::every]]
    answers = [judged(each) for each in signals if each.apart is None]
    wrong = [each for each in answers if each.truth != each.found]
    assert len(answers) >= 5 and len(wrong) <= 1, wrong


def test_the_standard_names_a_signal_by_what_is_measured() -> None:
    at = np.arange(4800) / 12_000.0
    wave = np.sin(2 * np.pi * 50 * at)
    inside = (at >= 0.1) & (at < 0.2)

    def label(names: tuple[str, ...], level: float, **others: Any) -> tuple[str, str | None]:
        return standard_label(names, Parts(wave * np.where(inside, level, 1.0), inside, **others), 12e3, 50)

    assert label(("sag",), 0.5) == ("sag", None)
    assert label(("interruption",), 0.05) == ("interruption", None)
    assert label((), 1.0) == ("none", None)
    at_limit = label(("sag",), 0.89)
    assert at_limit[0] == "sag" and at_limit[1] is not None and "limit" in at_limit[1]
    assert label(("harmonics", "sag"), 0.5, thd_percent=8.5)[1] == "THD at its limit (7 to 9 %)"
    kinds, why = label(("sag", "harmonics in it"), 0.5)
    assert kinds == "sag" and why is not None and "flagged" in why
    assert label(("flicker", "sag"), 0.5, swing_hz=12.0)[1] is not None  # 2.4 swings in 0.2 s beside it
    assert label(("flicker", "sag"), 0.5, swing_hz=20.0) == ("flicker+sag", None)
    assert label(("ringing",), 1.2)[0] == "oscillatory_transient+swell"


@pytest.mark.slow
@pytest.mark.parametrize("maker", ["model", "pypqd"])
@pytest.mark.parametrize("seconds", MIN_F1)
def test_fair_signals_have_the_class_of_the_standard(maker: str, seconds: float) -> None:
    fair, apart = judged_set(maker, seconds)
    print(f"\n{maker}, {seconds:g} s, 30 dB: macro F1 {macro_f1(fair):.4f} of {len(fair)} fair signals")
    for kind, score in class_scores(fair).items():
        taken = ", ".join(f"{found} {count}" for found, count in score.taken_for)
        print(f"  {kind:<48} {score.count:>3}  F1 {score.f1:.3f}  {taken}")
    for reason, answers in sorted(apart.items()):
        right = sum(each.truth == each.found for each in answers)
        print(f"  apart: {len(answers):>3}, {right:>3} as by the standard: {reason}")
    assert macro_f1(fair) >= MIN_F1[seconds]


@pytest.mark.slow
def test_the_confidence_of_a_short_record_is_lower_as_it_is_right_less_often() -> None:
    """Over all signals, those set apart by their few swings included: a record may be too short for them."""
    sure, right = [], []
    for seconds in MIN_F1:
        fair, apart = judged_set("model", seconds)
        answers = [*fair, *(each for why, part in apart.items() if "in a level" not in why for each in part)]
        sure.append(float(np.mean([each.confidence for each in answers])))
        right.append(float(np.mean([each.truth == each.found for each in answers])))
        print(f"\n{seconds:g} s: mean confidence {sure[-1]:.3f}, right {right[-1]:.3f} of {len(answers)}")
    assert sure == sorted(sure) and right[0] < right[-1]
    assert all(abs(one - other) <= 0.15 for one, other in zip(sure, right, strict=True))
