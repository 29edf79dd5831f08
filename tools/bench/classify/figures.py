"""Every figure of `bench classify`: F1 by class, confusion, calibration, at 20, 30 and 40 dB, 50 and 60 Hz.

Three sets with seeds that were not used for tuning: `short`, 0.5 to 3 s; `combined`, further combinations
(`recordings.py`); and `long`, the set of docs/sim.md. `0.5 to 3 s` is the first two together, so that a part
of a combination that is missed counts against the class that the answer names. At 20 dB the noise of every
recording is that of class `noise`: the class is left out there, and removed from answers. Baseline, in the
same run on the same signals: the joined classes of the events that `analyze` finds.
"""

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import chain

import click

from bench.classify.recordings import COMBINED, LONG, SHORT, SNR_DB, LabelledSignal, labelled_signals
from bench.classify.scores import Judged, calibration_error, class_scores, macro_f1
from bench.result import Baseline, BenchCase, BenchResult, case
from opq_measure.analysis.analysed import SignalAnalysis
from opq_measure.analysis.analyser import analyze
from opq_measure.classification.classifier import classification_of
from opq_measure.classification.measured_signal import MeasuredSignal

SEEDS = {20.0: 921_120, 30.0: 921_130, 40.0: 921_140}
"""Seeds of the held-out recordings; rules were made with recordings of other seeds."""
PER_CLASS, QUICK_PER_CLASS = 100, 1
"""Recordings of each class at each frequency, so that a class has twice as many."""
MINUTE = ("undervoltage", "overvoltage")
"""Classes with recordings of more than a minute: fewer in the whole run, none in the quick one."""
MINUTE_PER_CLASS = 10
NOISY_DB = 24.0
TOGETHER, TOGETHER_NAME = ("short", "combined"), "0.5 to 3 s"
WANTED = {20.0: 0.98, 30.0: 0.995, 40.0: 0.995}
RATE_HZ = 12_000.0
TEN_S = 10.0


def run(quick: bool) -> BenchResult:
    """Takes about half an hour on two cores; `quick` under a minute on an idle core."""
    rows: list[BenchCase] = []
    ours: dict[tuple[str, float], float] = {}
    before: list[float] = []
    together: dict[float, list[Judged]] = defaultdict(list)
    for name in ("short",) if quick else ("short", "combined", "long"):
        for snr_db in SNR_DB:
            classified, baseline = _judged(name, snr_db, quick)
            ours[name, snr_db] = macro_f1(classified)
            before.append(macro_f1(baseline))
            rows += _rows(name, snr_db, classified, before[-1])
            if name in TOGETHER:
                together[snr_db] += classified
    if not quick:
        rows += [_of_all(snr_db, judged) for snr_db, judged in together.items()]
    rows.append(_cost(quick))
    base = sum(before) / len(before)
    mean = sum(ours.values()) / len(ours)
    return BenchResult(
        tuple(rows),
        Baseline("macro F1 of the events of analyze, joined, mean of all sets", base, ""),
        mean / base,
    )


def _judged(name: str, snr_db: float, quick: bool) -> tuple[list[Judged], list[Judged]]:
    """Answers of classify and of the baseline for each recording."""
    kinds = [
        kind
        for kind in {"short": SHORT, "combined": COMBINED, "long": LONG}[name]
        if not (kind == "noise" and snr_db < NOISY_DB)
    ]
    jobs = [
        (kind, MINUTE_PER_CLASS if kind in MINUTE else QUICK_PER_CLASS if quick else PER_CLASS, snr_db, name)
        for kind in kinds
        if not (quick and kind in MINUTE)
    ]
    click.echo(f"{name}, {snr_db:g} dB, seed {SEEDS[snr_db]}: {len(jobs)} classes ...", err=True)
    with ProcessPoolExecutor(max_workers=1 if quick else os.cpu_count()) as pool:
        pairs = list(chain.from_iterable(pool.map(_of_class, jobs)))
    return [ours for ours, _ in pairs], [before for _, before in pairs]


def _of_class(job: tuple[str, int, float, str]) -> list[tuple[Judged, Judged]]:
    kind, per_class, snr_db, name = job
    signals = labelled_signals((kind,), per_class, SEEDS[snr_db], snr_db, name != "long")
    return [_answers(signal, snr_db) for signal in signals]


def _answers(signal: LabelledSignal, snr_db: float) -> tuple[Judged, Judged]:
    volts = signal.volts
    analysis = analyze(volts, RATE_HZ, signal.nominal_v, signal.nominal_hz)
    events = chain(analysis.events, *analysis.details)
    return (
        _answer(signal, analysis, snr_db),
        Judged(signal.kind, _without_noise({each.kind for each in events}, snr_db), 1.0),
    )


def answer_of(signal: LabelledSignal, snr_db: float) -> Judged:
    """The answer of classify for a recording."""
    return _answer(signal, analyze(signal.volts, RATE_HZ, signal.nominal_v, signal.nominal_hz), snr_db)


def _answer(signal: LabelledSignal, analysis: SignalAnalysis, snr_db: float) -> Judged:
    found = classification_of(MeasuredSignal(signal.volts, analysis))
    return Judged(signal.kind, _without_noise(set(found.kind.split("+")), snr_db), found.confidence)


def _without_noise(kinds: set[str], snr_db: float) -> str:
    if snr_db < NOISY_DB:
        kinds = kinds - {"noise"}
    return "+".join(sorted(kinds - {"none"})) or "none"


def _of_all(snr_db: float, judged: list[Judged]) -> BenchCase:
    """Macro F1 of every class with recordings of 0.5 to 3 s."""
    why = f"{len(judged)} recordings of {len(class_scores(judged))} classes, wanted {WANTED[snr_db]:g}"
    return case(f"{TOGETHER_NAME}, {snr_db:g} dB: macro F1", "", [macro_f1(judged)], because=why)


def _rows(name: str, snr_db: float, judged: list[Judged], before: float) -> Iterator[BenchCase]:
    head = f"{name}, {snr_db:g} dB"
    value = macro_f1(judged)
    why = f"{len(judged)} recordings of 50 and 60 Hz, seed {SEEDS[snr_db]}, wanted {WANTED[snr_db]:g}"
    yield case(f"{head}: macro F1", "", [value], peer=before, because=why)
    yield case(
        f"{head}: calibration error", "", [calibration_error(judged)], because=f"{len(judged)} answers"
    )
    for kind, one in class_scores(judged).items():
        instead = ", ".join(f"{found} {number}" for found, number in one.taken_for)
        figures = f"precision {one.precision:.4f}, recall {one.recall:.4f} of {one.count}"
        yield case(
            f"{head}: F1 of {kind}",
            "",
            [one.f1],
            because=f"{figures}; taken for: {instead or 'nothing else'}",
        )


def _cost(quick: bool) -> BenchCase:
    """CPU of measuring and classifying 10 s of a dip with harmonics, as an event has them."""
    signals = labelled_signals(("harmonics+sag",), 1 if quick else 3, 1, 40.0, False)
    spent = []
    for signal in signals:
        volts = signal.volts[: round(TEN_S * RATE_HZ)]
        began = time.process_time()
        classification_of(MeasuredSignal(volts, analyze(volts, RATE_HZ, signal.nominal_v, signal.nominal_hz)))
        spent.append(1000 * (time.process_time() - began) * TEN_S * RATE_HZ / len(volts))
    return case("CPU per 10 s of waveform, measured and classified", "ms", spent, limit=150.0)
