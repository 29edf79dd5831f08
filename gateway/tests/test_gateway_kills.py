"""kill -9 again and again, as systemd starts a gateway again: Boxes hold 3.2 s, and no sample is lost."""

import json
from pathlib import Path

import numpy as np
import pytest

from opq_hil.suites.gateway_process import (
    UNREAD_EMULATED_S,
    GatewayProcess,
    Kills,
    longest_s,
    recovery_since_s,
)
from opq_sim.faults.draws import GATEWAY_BOXES
from opq_sim.faults.parts.cabled_boxes import CabledBoxes


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(3, marks=[pytest.mark.slow, pytest.mark.timeout(longest_s(3))]),
        pytest.param(100, marks=[pytest.mark.soak, pytest.mark.timeout(longest_s(100))]),
    ],
)
def test_no_sample_is_lost_by_kills(tmp_path: Path, kills: int) -> None:
    paths = {box_id: tmp_path / f"port{box_id}" for box_id in GATEWAY_BOXES}
    with (
        CabledBoxes(paths, GATEWAY_BOXES[:1], GATEWAY_BOXES[1:2]) as boxes,
        GatewayProcess(paths, tmp_path, held_up_s=lambda: boxes.held_up_s) as gateway,
    ):
        done = gateway.survive_kills(kills)
        lost = {box_id: gateway.lost(box_id) for box_id in GATEWAY_BOXES}
        blocks = {box_id: gateway.blocks(box_id) for box_id in GATEWAY_BOXES}
    print(f"{kills} kills: lost {lost}; Boxes asked again after {max(done.recovery_s):.2f} s at most")
    assert max(lost.values()) <= done.excused_samples
    for box_id, found in blocks.items():
        first = found[0].first_sample
        true = boxes.boxes[box_id].truth(first, found[-1].end_sample - first)
        for block in found:
            assert np.array_equal(block.counts, true[block.first_sample - first : block.end_sample - first])


def test_an_expired_sample_is_excused() -> None:
    """Of two kills; the Box of the first still held everything."""
    recovery_s = (2.5, 3.2)
    assert (Kills(recovery_s).excused_samples, Kills(recovery_s, UNREAD_EMULATED_S).excused_samples) == (
        2400,
        7200,
    )


@pytest.mark.parametrize(
    ("asked", "recovery_s"),
    [
        ({"early_s": 4.0, "early_first": 50_000, "early_sample": 72_000}, 1.0),
        ({"early_s": 0.0}, 7.0),
    ],
)
def test_an_unasked_time_is_counted_in_samples(
    tmp_path: Path, asked: dict[str, float], recovery_s: float
) -> None:
    opened = {"event": "serial.opened", "box_id": "1", **asked}
    lines = [{**opened, "monotonic_ns": at_s * 10**9} for at_s in (1, 9)]
    lines.insert(1, {**lines[1], "box_id": "12", "early_sample": 0})
    (tmp_path / "log").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert recovery_since_s(tmp_path / "log", "1", 60_000, 2 * 10**9) == pytest.approx(recovery_s)
