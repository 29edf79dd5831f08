"""The parts of `bench classify`: its scores on answers that are known, and its recordings."""

import numpy as np
import pytest

from bench.classify.recordings import SHORT, short_signal
from bench.classify.scores import Judged, calibration_error, class_scores, macro_f1


def test_scores_of_known_answers() -> None:
    judged = [Judged("sag", "sag", 0.95)] * 3 + [Judged("sag", "none", 0.95), Judged("none", "none", 0.95)]
    scores = class_scores(judged)
    assert (scores["sag"].precision, scores["sag"].recall) == (1.0, 0.75)
    assert scores["sag"].taken_for == (("none", 1),)
    assert (scores["none"].precision, scores["none"].recall) == (0.5, 1.0)
    assert macro_f1(judged) == pytest.approx((2 * 0.75 / 1.75 + 2 * 0.5 / 1.5) / 2)
    assert calibration_error(judged) == pytest.approx(0.95 - 0.8)


@pytest.mark.parametrize("kind", SHORT)
def test_a_recording_is_the_same_for_the_same_seed_and_no_longer_than_it_says(kind: str) -> None:
    first, again, other = (short_signal(kind, 60, 1, seed, 30.0) for seed in (5, 5, 6))
    assert np.array_equal(first.counts, again.counts) and not np.array_equal(first.counts, other.counts)
    assert 0.5 * 12_000 <= len(first.counts) <= 3.0 * 12_000
