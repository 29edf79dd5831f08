"""Precision, recall and F1 of (true, found) classes, and calibration of the confidence."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

BINS = 10


@dataclass(frozen=True, slots=True)
class Judged:
    """One recording: its label, the answer and the answer's confidence."""

    truth: str
    found: str
    confidence: float


@dataclass(frozen=True, slots=True)
class LabelScore:
    """The score of one label; a combination is its own label, so half of it is wrong."""

    precision: float
    recall: float
    f1: float
    count: int
    taken_for: tuple[tuple[str, int], ...]
    """(wrong answer, count) for its recordings, the most frequent first."""


def class_scores(judged: Sequence[Judged]) -> dict[str, LabelScore]:
    """Scores by label, in the order of first recordings. An answer that is not a label lowers only recall."""
    truths = Counter(one.truth for one in judged)
    answers = Counter(one.found for one in judged)
    right = Counter(one.truth for one in judged if one.found == one.truth)
    wrong = Counter((one.truth, one.found) for one in judged if one.found != one.truth)
    scores = {}
    for kind, count in truths.items():
        precision = right[kind] / answers[kind] if answers[kind] else 0.0
        recall = right[kind] / count
        f1 = 2 * precision * recall / (precision + recall) if right[kind] else 0.0
        instead = [(found, number) for (truth, found), number in wrong.most_common() if truth == kind]
        scores[kind] = LabelScore(precision, recall, f1, count, tuple(instead))
    return scores


def macro_f1(judged: Sequence[Judged]) -> float:
    """Mean F1 of the labels, with equal weights."""
    scores = class_scores(judged)
    return sum(one.f1 for one in scores.values()) / len(scores)


def calibration_error(judged: Sequence[Judged]) -> float:
    """Mean difference of confidence and share of right answers over ten equal bins, weighted by their size.

    Source: expected calibration error, Naeini, Cooper and Hauskrecht 2015.
    """
    error = 0.0
    for number in range(BINS):
        part = [one for one in judged if min(BINS - 1, int(one.confidence * BINS)) == number]
        if part:
            sure = sum(one.confidence for one in part) / len(part)
            true = sum(one.found == one.truth for one in part) / len(part)
            error += len(part) / len(judged) * abs(sure - true)
    return error
