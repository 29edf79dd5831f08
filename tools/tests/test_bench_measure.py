"""`bench` finds every benchmark; `bench measure`: our half finds the errors that were put in."""

import importlib
import sys
from pathlib import Path

import click
import numpy as np
import pytest

from bench import measure
from bench.harness.peer import NoPeerError, measured
from bench.harness.result import BenchCase, row_text
from bench.measure import errors_of, is_worse
from opq_sim.mains import MIX_3_PERCENT, mains
from opq_tools.sim import bench as bench_command

RATE_HZ = 12_000.0


def test_errors_are_those_of_the_signal() -> None:
    volts, truth = mains(5.0, RATE_HZ, frequency_hz=61.3, harmonics=MIX_3_PERCENT, random_phases=True, seed=3)
    for key, values in errors_of(volts, truth, RATE_HZ, 60.0).items():
        assert np.abs(values).max() < (1e-3 if key.endswith("hz") else 1e-5), key
    louder = errors_of(
        1.001 * volts, truth, RATE_HZ, 60.0
    )  # a gain error of 0.1 % is in every rms, in no ratio
    for key in ("cycle_v", "half_v", "window_v"):
        assert np.allclose(louder[key], 1e-3, atol=1e-5), key
    assert np.abs(louder["thd"]).max() < 1e-5


def test_an_absent_peer_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pqopen.powersystem", None)
    monkeypatch.setitem(sys.modules, "daqopen.channelbuffer", None)
    with pytest.raises(NoPeerError, match=r"opq-toolkit\[bench\]"):
        measured(np.zeros(100), RATE_HZ, 60.0)


def test_a_row_beyond_its_limit_is_marked() -> None:
    row = BenchCase("rms", 0.02, "%", 0.02, 0.02, 0.02, 1, limit=0.01, peer=0.03, because="noise")
    assert is_worse(row) and "BEYOND 0.01; peer 0.03; noise" in row_text(row)
    assert not is_worse(BenchCase("rms", 0.02, "%", 0.02, 0.02, 0.02, 1, limit=0.03, peer=0.02))
    assert is_worse(BenchCase("rms", 0.02, "%", 0.02, 0.02, 0.02, 1, peer=0.01))


def test_every_benchmark_that_is_listed_can_be_run() -> None:
    for name, line in bench_command.BENCHMARKS.items():
        assert callable(importlib.import_module(f"bench.{name}").run) and line.endswith(".")


def test_an_installed_wheel_reports_missing_benchmarks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bench_command, "FOLDER", tmp_path / "bench")
    with pytest.raises(bench_command.NoBenchmarksError, match="clone the project"):
        bench_command.command.main(["measure", "--quick"], standalone_mode=False)
    with pytest.raises(click.UsageError, match="there are: makai"):
        bench_command.command.main(["nothing"], standalone_mode=False)


@pytest.mark.parametrize("form", range(len(measure.FORMS)))
def test_both_readers_see_the_same_samples(form: int, tmp_path: Path) -> None:
    """A difference is an error, not a figure."""
    name, write, plain = measure.FORMS[form]
    path = write(tmp_path, 100_000)
    _, own_mb, own_sum, own_samples = measure._timed(measure.OURS, path)
    _, _, plain_sum, plain_samples = measure._timed(plain, path)
    assert own_samples == plain_samples > 1000
    assert own_sum == pytest.approx(plain_sum, rel=1e-9)
    assert 10 < own_mb < measure.MOST_MB, name
