"""The parts of `bench classify`: its scores on answers that are known, and its recordings."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
import pytest

from bench.classify.figures import answer_of
from bench.classify.recordings import COMBINED, LONG, SHORT, short_signal
from bench.classify.scores import Judged, calibration_error, class_scores, macro_f1
from bench.classify.whole import read_state, table, wanted_recordings


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


def test_every_combination_of_the_table_has_a_signal_and_there_are_forty_classes() -> None:
    text = (Path(__file__).parents[2] / "docs" / "classes.md").read_text(encoding="utf-8")
    table = text.partition("## Combinations")[2].partition("## Severity")[0]
    combinations = {kind for kind in (*SHORT, *COMBINED) if "+" in kind}
    assert set(re.findall(r"^\| `([a-z_+]+)` \|", table, re.MULTILINE)) == combinations
    single = {part for kind in (*SHORT, *COMBINED, *LONG) for part in kind.split("+")} - {"none"}
    assert len(combinations) + len(single) >= 40
    assert all(list(kind.split("+")) == sorted(kind.split("+")) for kind in combinations)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in (*SHORT, *COMBINED) if "+" in kind])
def test_a_combination_is_told_from_its_test_signal(kind: str) -> None:
    judged = [answer_of(short_signal(kind, hz, 1, 9, 40.0), 40.0) for hz in (50, 60)]
    assert [each.found for each in judged] == [kind, kind]


@pytest.mark.parametrize(
    ("kind", "hz", "index"),
    [
        ("harmonics+phase_jump+sag", 60, 21),  # a swell for half a cycle, at the jump
        ("harmonics+phase_jump+sag", 50, 66),
        ("impulsive_transient+swell", 60, 11),  # whose impulse takes back most of the step
        ("impulsive_transient+sag", 50, 63),
        ("harmonics+mains_signalling", 60, 75),
        ("dc_offset+harmonics", 50, 22),
    ],
)
def test_what_was_wrong_once_at_40_db_is_right(kind: str, hz: int, index: int) -> None:
    judged = answer_of(short_signal(kind, hz, index, 731_140, 40.0), 40.0)
    assert judged.found == judged.truth


def test_the_whole_run_goes_on_where_it_was_ended(tmp_path: Path) -> None:
    keys = list(wanted_recordings(2, ("short",)))
    assert len(keys) == len(set(keys)) and keys[0].index == 1 and keys[-1].index == 2
    assert {key.kind for key in keys if key.snr_db == 20.0} == set(SHORT) - {"noise"}
    state = tmp_path / "state.jsonl"
    assert read_state(state, "a") == {}
    row = json.dumps([asdict(keys[0]), asdict(Judged("none", "none", 0.9))])
    with state.open("a") as file:
        file.write(row + "\n" + row[:40])  # killed in the middle of a line
    done = read_state(state, "a")
    assert done == {keys[0]: Judged("none", "none", 0.9)}
    with state.open("a") as file:
        file.write(json.dumps([asdict(keys[1]), asdict(Judged("sag", "sag", 0.9))]) + "\n")
    done = read_state(state, "a")
    assert len(done) == 2, "the line that was cut off ends where the next one begins"
    shown = table(done)
    assert "short       20 dB           2    1.0000" in shown and "sag" in shown
    with pytest.raises(click.ClickException, match="another version"):
        read_state(state, "b")
