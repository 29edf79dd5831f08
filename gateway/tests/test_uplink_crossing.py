"""A crossing at a real Box: the limits go to it, its word comes back, and is up before its window is."""

from pathlib import Path
from typing import Any

from in_thread import in_thread
from waiting import wait_for

from bench.harness.boxes import SAG_LEFT_PU, RepeatedSource
from opq_gateway import config
from opq_gateway.gateway import Gateway
from opq_proto.keys.key_files import KeyFolder
from opq_sim.box.box import Box
from opq_sim.box.box_host import BoxHost


def test_a_sag_goes_up_at_both_ends(tmp_path: Path, makai: Any, keys: KeyFolder) -> None:
    """A sag is up as a crossing before its window is over and once more when it ends."""
    source = RepeatedSource(1)
    host = BoxHost([Box("1", source)])
    lines = [
        f'data_dir = "{tmp_path}"',
        'health_endpoint = "127.0.0.1:0"',
        "[uplink]",
        'crossings = "always"',
    ]
    lines += [f'{key} = "{value}"' for key, value in makai.endpoints.items()]
    with host:
        lines += ["[[box]]", 'id = "1"', f'port = "{host.ports["1"]}"']
        (tmp_path / "gateway.toml").write_text("\n".join(lines))
        gateway = Gateway(config.load(tmp_path / "gateway.toml"))
        with in_thread(gateway.run):
            wait_for(lambda: len(makai.measurements) >= 2)
            source.sag()
            dip = wait_for(lambda: [m for m in makai.decoded() if m.crossing])[0]
            came = makai.decoded()
            before = came[: came.index(dip)]
            assert all(m.end_ns <= dip.start_ns for m in before)  # its own is not over yet
            own = wait_for(lambda: [m for m in makai.decoded() if not m.crossing and m.end_ns > dip.end_ns])[
                0
            ]
            recovered = wait_for(lambda: [m for m in makai.decoded() if m.crossing][1:])[0]
    low_v = dip.metrics["rms"].min
    assert (
        set(dip.metrics) == {"rms"} and SAG_LEFT_PU * 120 * 0.99 < low_v < 108 < recovered.metrics["rms"].min
    )
    assert own.start_ns <= dip.start_ns and own.metrics["rms"].min < 75
    assert abs((recovered.start_ns - dip.start_ns) / 1e9 - 0.2) < 0.04  # 12 cycles, told by blocks of one
    # Makai compares index and time: it sees from this whether the Box's clock was set since an earlier dip
    assert dip.samples == 200 and dip.first_sample - own.first_sample < own.samples
    assert dip.start_id == own.start_id and own.start_id is not None
    assert dip.source == own.source and dip.sequence is not None and not dip.backfilled
    numbers = [m.sequence for m in makai.decoded()]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert gateway.counters["1"]["crossings"] == gateway.counters["1"]["crossings_sent"] == 2
