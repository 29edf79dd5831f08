"""`bench measure`: our half finds the errors that were put in, and an absent peer is told in one line."""

import sys

import numpy as np
import pytest

from opq_hil.mains import MIX_3_PERCENT, mains
from opq_tools.bench import Case, row_text
from opq_tools.benchmarks.measure import core
from opq_tools.benchmarks.measure.figures import beaten
from opq_tools.benchmarks.peer import NoPeerError, measured

RATE_HZ = 12_000.0


def test_errors_are_those_of_the_signal_and_of_nothing_else() -> None:
    volts, truth = mains(5.0, RATE_HZ, frequency_hz=61.3, harmonics=MIX_3_PERCENT, random_phases=True, seed=3)
    for key, values in core.errors(volts, truth, RATE_HZ, 60.0).items():
        assert np.abs(values).max() < (1e-3 if key.endswith("hz") else 1e-5), key
    louder = core.errors(
        1.001 * volts, truth, RATE_HZ, 60.0
    )  # a gain error of 0.1 % is in every rms, in no ratio
    for key in ("cycle_v", "half_v", "window_v"):
        assert np.allclose(louder[key], 1e-3, atol=1e-5), key
    assert np.abs(louder["thd"]).max() < 1e-5


def test_an_absent_peer_is_one_line_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pqopen.powersystem", None)
    monkeypatch.setitem(sys.modules, "daqopen.channelbuffer", None)
    with pytest.raises(NoPeerError, match=r"opq-toolkit\[bench\]"):
        measured(np.zeros(100), RATE_HZ, 60.0)


def test_a_row_worse_than_its_limit_or_its_peer_says_so() -> None:
    row = Case("rms", 0.02, "%", 0.02, 0.02, 0.02, 1, limit=0.01, peer=0.03, because="noise")
    assert beaten(row) and "BEYOND 0.01; peer 0.03; noise" in row_text(row)
    assert not beaten(Case("rms", 0.02, "%", 0.02, 0.02, 0.02, 1, limit=0.03, peer=0.02))
    assert beaten(Case("rms", 0.02, "%", 0.02, 0.02, 0.02, 1, peer=0.01))
