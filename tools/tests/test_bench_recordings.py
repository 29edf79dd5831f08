"""`bench recordings`: both sides read the same samples, and a difference is an error, not a figure."""

from pathlib import Path

import pytest

from bench import recordings


@pytest.mark.parametrize("form", range(len(recordings.FORMS)))
def test_both_readers_see_the_same_samples(form: int, tmp_path: Path) -> None:
    name, write, plain = recordings.FORMS[form]
    path = write(tmp_path, 100_000)
    _, own_mb, own_sum, own_samples = recordings._timed(recordings.OURS, path)
    _, _, plain_sum, plain_samples = recordings._timed(plain, path)
    assert own_samples == plain_samples > 1000
    assert own_sum == pytest.approx(plain_sum, rel=1e-9)
    assert 10 < own_mb < recordings.MOST_MB, name
