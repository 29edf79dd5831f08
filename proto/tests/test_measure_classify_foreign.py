"""How well signals that other hands define are classified: the integral model, `pypqd`.

`foreign_signals.py` has the definitions and why a signal is set apart; `class_tables.py` writes the tables of
docs/classes-tables.md, which `pytest -s -m slow` prints by length.
"""

from functools import cache
from typing import Any

import numpy as np
import pytest
from class_scores import Judged, macro_f1
from class_tables import (
    MAKERS,
    NOISE_DB,
    Answer,
    answers,
    apart_table,
    confusion_table,
    is_knowable,
    reliability_table,
)
from foreign_signals import MODEL, ForeignSignal, Parts, model_signal, standard_label

from opq_measure.classification.classifier import classify

MIN_F1 = {0.2: 0.95, 0.4: 0.98, 1.0: 0.98}
"""Length in seconds -> least macro F1 of the fair signals."""


def judged(signal: ForeignSignal) -> Judged:
    found = classify(signal.volts, signal.rate_hz, signal.nominal_v, signal.nominal_hz)
    return Judged(signal.label, found.kind, found.confidence)


@cache
def answers_of(maker: str, seconds: float) -> list[Answer]:
    return answers(maker, seconds)


@pytest.mark.parametrize(("hz", "cycles", "every"), [(50, 10, 1), (60, 24, 3)])
def test_the_integral_model_has_each_class(hz: int, cycles: int, every: int) -> None:
    signals = [model_signal(name, hz, cycles, 1, NOISE_DB) for name in list(MODEL)[::every]]
    answers = [judged(each) for each in signals if each.apart is None]
    wrong = [each for each in answers if each.truth != each.found]
    assert len(answers) >= 5 and len(wrong) <= 1, wrong


@pytest.mark.parametrize(
    ("name", "hz", "cycles", "index"),
    [
        ("ringing", 60, 24, 1000),  # noise before it belongs to its stretch
        ("swell with ringing", 50, 20, 1001),  # one sample of noise of 4 sigma where it has faded
        ("harmonics with swell with ringing", 50, 10, 1002),  # the swell ends within it
        ("harmonics with swell with ringing", 60, 12, 1003),  # its wave is near order 15
    ],
)
def test_ringing_alone_has_no_impulse_or_notches(name: str, hz: int, cycles: int, index: int) -> None:
    signal = model_signal(name, hz, cycles, index, NOISE_DB)
    assert signal.apart is None
    assert judged(signal).found == signal.label


def test_the_standard_names_by_measured_values() -> None:
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


def test_the_tables_show_confusions_and_calibration() -> None:
    some = [Answer("sag", None, "sag", 0.96)] * 3 + [
        Answer("sag", None, "none", 0.75),
        Answer("flicker", "fewer than three swings", "none", 0.6),
        Answer("swell", "a level at its limit", "none", 0.6),
    ]
    assert "| sag | 4, 1 as none |" in list(confusion_table({"1 s": some}))
    assert "| a level at its limit | 0 of 1 |" in list(apart_table({"1 s": some}))
    rows = list(reliability_table({"1 s": [each for each in some if is_knowable(each)]}))
    assert "| 0.95 to 0.99 | 0.96: 1.00 of 3 |" in rows and "| 0.5 to 0.7 | 0.60: 0.00 of 1 |" in rows


@pytest.mark.slow
@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("seconds", MIN_F1)
def test_fair_signals_have_the_class_of_the_standard(maker: str, seconds: float) -> None:
    if maker == "pypqd":
        pytest.importorskip("pypqd", reason="GPL, from PyPI")
    found = {f"{seconds:g} s": answers_of(maker, seconds)}
    print(f"\n{MAKERS[maker]}", *confusion_table(found), *apart_table(found), sep="\n")
    assert (
        macro_f1([each.judged for each in found[f"{seconds:g} s"] if each.apart is None]) >= MIN_F1[seconds]
    )


@pytest.mark.slow
def test_a_short_record_has_lower_confidence() -> None:
    """Over all signals, those set apart by their few swings included: a record may be too short for them."""
    by_length = {
        f"{seconds:g} s": [
            each for each in answers_of("model", seconds) if "in a level" not in (each.apart or "")
        ]
        for seconds in MIN_F1
    }
    print("", *reliability_table(by_length), sep="\n")
    sure = [float(np.mean([each.confidence for each in found])) for found in by_length.values()]
    right = [float(np.mean([each.truth == each.found for each in found])) for found in by_length.values()]
    assert sure == sorted(sure) and right[0] < right[-1]
    assert all(abs(one - other) <= 0.15 for one, other in zip(sure, right, strict=True))
