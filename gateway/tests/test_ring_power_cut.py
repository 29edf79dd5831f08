"""The ring's files after a power cut, a kill or damage at any byte: what was whole stays, no more is read."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from telling_blocks import T0_NS, block, blocks, ns, pattern

from opq_gateway.ring.raw import HEAD_BYTES
from opq_gateway.ring.record import stride_bytes
from opq_gateway.ring.ring import Ring
from opq_gateway.ring.segment_catalogue import open_segment, read_span

STRIDE = stride_bytes(200)
ALL = (0, 2**62)


def written(folder: Path, records: int, end: bool = False) -> bytes:
    """The bytes of a segment of so many records, its preallocated rest among them unless it was ended."""
    ring = Ring(folder, "1", 0.3)
    ring.append_all(blocks(0, 200 * records))
    if end:
        ring.close()
    data = next(folder.glob("*.seg")).read_bytes()
    ring.close()
    return data


def indices(path: Path) -> set[int]:
    """Records whose samples are read, each checked against what was written."""
    segment = open_segment(path)
    found = None if segment is None else read_span(segment, *ALL)
    got = [] if found is None else found.blocks()
    for one in got:
        assert np.array_equal(one.counts, pattern(one.first_sample, 200)) and one.t_ns == ns(one.first_sample)
    return {one.first_sample // 200 for one in got}


@pytest.mark.parametrize("records", [1, 9])
def test_a_cut_file_keeps_every_earlier_record(tmp_path: Path, records: int) -> None:
    path = tmp_path / "cut.seg"
    data = written(tmp_path / "ring", records, end=True)
    assert len(data) == HEAD_BYTES + records * STRIDE
    for cut in range(max(0, len(data) - 3 * STRIDE), len(data) + 1):
        path.write_bytes(data[:cut])
        assert indices(path) == set(range(max(0, cut - HEAD_BYTES) // STRIDE)), cut


def test_a_zeroed_file_keeps_every_earlier_record(tmp_path: Path) -> None:
    """The writer was killed; zeros begin at any byte."""
    path = tmp_path / "cut.seg"
    data = written(tmp_path / "ring", 9)
    end = HEAD_BYTES + 9 * STRIDE
    assert len(data) > 2 * end and not any(data[end:])  # preallocated
    data = data[: 2 * end]
    for cut in range(end - 2 * STRIDE, end + 1):
        path.write_bytes(data[:cut] + bytes(len(data) - cut))
        whole = (cut - HEAD_BYTES) // STRIDE
        last = data[HEAD_BYTES + whole * STRIDE : HEAD_BYTES + (whole + 1) * STRIDE]
        tail_was_zeros = whole < 9 and not any(last[cut - HEAD_BYTES - whole * STRIDE :])
        assert indices(path) == set(range(whole + tail_was_zeros)), cut


def test_one_changed_byte_costs_one_record(tmp_path: Path) -> None:
    path = tmp_path / "hit.seg"
    data = bytearray(written(tmp_path / "ring", 5, end=True))
    for at in range(HEAD_BYTES + 3 * STRIDE, HEAD_BYTES + 5 * STRIDE):
        data[at] ^= 0x40
        path.write_bytes(data)
        assert indices(path) == {0, 1, 2, 3, 4} - {(at - HEAD_BYTES) // STRIDE}, at
        data[at] ^= 0x40


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    synced=st.integers(0, 60),
    later=st.integers(1, 60),
    sector=st.sampled_from((512, 4096)),
    seed=st.integers(0, 2**32),
)
def test_older_sectors_cost_nothing_synced(
    tmp_path_factory: pytest.TempPathFactory, synced: int, later: int, sector: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("ring")
    ring = Ring(folder, "1", 0.3)
    ring.append(block(0))
    path = next(folder.glob("*.seg"))
    ring.append_all(blocks(200, 200 * (synced + 1)))
    before = path.read_bytes()
    ring.append_all(blocks(200 * (synced + 1), 200 * (synced + 1 + later)))
    after = path.read_bytes()
    ring.close()
    draw = random.Random(seed)
    torn = b"".join(
        (after if draw.random() < 0.5 else before)[at : at + sector] for at in range(0, len(after), sector)
    )
    path.write_bytes(torn)
    found = indices(path)
    assert set(range(synced + 1)) <= found <= set(range(synced + 1 + later))
    again = Ring(folder, "1", 0.3)
    end = 200 * (synced + 1 + later)
    again.append(block(end))
    kept = {one.first_sample // 200 for one in again.read_blocks(*ALL)} - {end // 200}
    assert kept == found
    assert accounted(again, end + 200)


def accounted(ring: Ring, end: int) -> bool:
    """Whether each of the samples 0 .. end - 1 is in the ring or in a loss, and in one of them only."""
    seen = np.zeros(end, int)
    for one in ring.read_blocks(*ALL):
        seen[one.first_sample : one.end_sample] += 1
    for lost in ring.read_lost(*ALL):
        assert lost.reason
        seen[lost.first_sample : lost.end_sample] += 1
    return bool((seen == 1).all())


def test_an_older_files_blocks_are_not_new(tmp_path: Path) -> None:
    old = written(tmp_path / "old", 50, end=True)
    new = written(tmp_path / "new", 10, end=True)
    path = tmp_path / "recycled.seg"
    path.write_bytes(new + old[len(new) :])
    assert indices(path) == set(range(10))
    moved = new[: HEAD_BYTES + 5 * STRIDE] + new[HEAD_BYTES + 2 * STRIDE :]
    path.write_bytes(moved)  # records of the same file in other places
    assert indices(path) == set(range(5))


def test_a_span_beside_damage_is_found(tmp_path: Path) -> None:
    data = bytearray(written(tmp_path / "ring", 600))
    path = tmp_path / "hole.seg"
    for low, high in ((200, 400), (0, 300), (300, 599), (10, 590)):
        hurt = bytearray(data)
        hurt[HEAD_BYTES + low * STRIDE : HEAD_BYTES + high * STRIDE] = bytes((high - low) * STRIDE)
        path.write_bytes(hurt)
        segment = open_segment(path)
        assert segment is not None
        for at in (0, 5, 199, 200, 305, 399, 400, 595, 599):
            found = read_span(segment, ns(200 * at), ns(200 * at + 1))
            got = [] if found is None else [one.first_sample // 200 for one in found.blocks()]
            assert got == ([] if low <= at < high else [at]), (low, high, at)


def test_a_new_writer_returns_unused_room(tmp_path: Path) -> None:
    written(tmp_path, 9, end=True)
    whole = next(tmp_path.glob("*.seg")).read_bytes()
    (tmp_path / "000000000001.seg").write_bytes(whole + bytes(100_000))
    (tmp_path / "000000000002.seg").write_bytes(whole[:HEAD_BYTES] + bytes(100_000))
    (tmp_path / "000000000003.seg").write_bytes(bytes(100_000))
    (tmp_path / "000000000001.sealing").write_bytes(b"half")
    reader = Ring(tmp_path, "1", 1.0)
    assert reader.read(*ALL) is not None and len(list(tmp_path.iterdir())) == 4  # a reader changes nothing
    reader.append(block(1800, t0_ns=T0_NS))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["000000000001.seg", "000000000004.seg"]
    assert (tmp_path / "000000000001.seg").stat().st_size == HEAD_BYTES + 9 * STRIDE
    assert accounted(reader, 2000)


def test_an_unreadable_segment_is_a_hole(
    tmp_path: Path,
) -> None:
    """Beside readable segments; alone it is an error."""
    ring = Ring(tmp_path, "1", 12 / 3600)  # segments of 1 s
    ring.append_all(blocks(0, 60_000))
    second = sorted(tmp_path.glob("*.seg"))[1]
    start, end = (int(name.first_sample) for name in ring.unsealed()[1:3])
    second.unlink()
    second.mkdir()
    assert accounted(ring, 60_000)
    wave = ring.read(*ALL)
    assert wave is not None and [(gap.first_sample, gap.samples) for gap in wave.gaps] == [
        (start, end - start)
    ]
    with pytest.raises(OSError):
        ring.read(ns(start), ns(start + 1))
    assert ring.bad_records > 0
    assert Ring(tmp_path, "1", 1.0).read(ns(0), ns(1)) is not None
