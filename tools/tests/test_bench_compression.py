"""`bench compression`: its limit is the noise's entropy, its rows are real bytes, an absent coder is told."""

import math
import sys

import numpy as np
import pytest

from bench.compression import PEER, CodedSignal, NoCoderError, layouts, noise_bits, peers, rows_of, wandering
from bench.result import row_text


@pytest.mark.parametrize("noise_lsb", [2.0, 30.0])
def test_wide_noise_has_closed_form_entropy(noise_lsb: float) -> None:
    wanted = math.log2(noise_lsb * math.sqrt(2 * math.pi * math.e))
    assert noise_bits(noise_lsb) == pytest.approx(wanted, abs=2e-2)


def test_noise_below_a_count_has_little_entropy() -> None:
    assert noise_bits(0.1) < 1e-4


def test_the_signal_repeats_with_its_stated_noise() -> None:
    loud, quiet = wandering(2, 30.0, 60.0), wandering(2, 0.0, 60.0)
    np.testing.assert_array_equal(loud, wandering(2, 30.0, 60.0))
    assert np.std(loud.astype(int) - quiet) == pytest.approx(30.0, rel=0.02)


def test_a_layout_only_reorders_bytes() -> None:
    counts = wandering(1, 2.0, 60.0)
    assert {len(data) for data in layouts(counts)} == {counts.nbytes}


def test_an_absent_coder_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(NoCoderError, match=r"opq-toolkit\[bench\]"):
        peers()


def test_rows_stand_beside_their_limit_and_their_peer() -> None:
    signal = CodedSignal("mains", wandering(5, 2.0, 60.0), noise_bits(2.0), noise_bits(2.0) + 0.3)
    rows = {row.case: row for row in rows_of(signal, {PEER: lambda counts: counts.nbytes}, 1)}
    cost = rows["mains: a sample"]
    assert cost.peer == 16.0 and "within" in row_text(cost)
    assert rows["mains: ratio"].value == pytest.approx(16 / cost.value)
    assert rows["mains: over the noise"].value == pytest.approx(cost.value - noise_bits(2.0))


def test_the_peers_give_real_sizes() -> None:
    pytest.importorskip("soundfile", reason="extra `bench`")
    pytest.importorskip("zstandard", reason="extra `bench`")
    counts = wandering(2, 2.0, 60.0)
    sizes = {name: size(counts) for name, size in peers().items()}
    assert set(sizes) == {PEER, "zstd 19", "lzma 9", "zlib 9"}
    assert all(counts.nbytes / 4 < size < counts.nbytes for size in sizes.values())
