"""Sequence numbers: rising, never twice, whatever ends the process."""

from itertools import pairwise
from pathlib import Path

import pytest

from opq_gateway.uplink.sequences import CHUNK, Sequences


def test_numbers_rise_by_one_and_go_on_after_a_clean_end(tmp_path: Path) -> None:
    numbers = Sequences(tmp_path / "box" / "sequence", now_ms=1000)
    assert [numbers.take() for _ in range(200)] == list(range(1000, 1200))
    numbers.close()
    assert Sequences(tmp_path / "box" / "sequence", now_ms=5).take() == 1200


def test_after_a_kill_at_most_a_chunk_is_skipped_and_none_comes_twice(tmp_path: Path) -> None:
    used = []
    for life in range(5):
        numbers = Sequences(tmp_path / "sequence", now_ms=1000)
        used += [numbers.take() for _ in range(life * 37 + 1)]
    assert used == sorted(set(used))
    assert max(b - a for a, b in pairwise(used)) <= CHUNK + 1


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"12x", b"1e5", b"9" * 26, b"-5"])
def test_an_unreadable_file_jumps_to_the_present(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sequence").write_bytes(content)
    numbers = Sequences(tmp_path / "sequence", now_ms=10**12)
    assert numbers.take() == 10**12 and numbers.recovered


def test_a_number_that_cannot_be_reserved_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = Sequences(tmp_path / "sequence", now_ms=0)
    for _ in range(CHUNK):
        numbers.take()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(numbers, "_write", full)
    with pytest.raises(OSError, match="space"):
        numbers.take()
    monkeypatch.undo()
    assert numbers.take() == CHUNK
