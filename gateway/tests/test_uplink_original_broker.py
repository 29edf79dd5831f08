"""An original broker, which never acknowledges: what a gateway with a Box on a pty sends it, as it stands on
the wire. Its triggering service cuts a dip when a Measurement comes late, out of order, or beside the others.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from in_thread import in_thread
from waiting import wait_for

from bench.harness.boxes import RepeatedSource
from opq_gateway import config
from opq_gateway.gateway import Gateway
from opq_proto.keys.key_files import KeyFolder
from opq_proto.messages import Measurement
from opq_proto.wire.frames import ACK_PLUGIN, plugin_command
from opq_sim.box.box import Box
from opq_sim.box.box_host import BoxHost

PROMPT_NS = 150_000_000
"""From a window's end to the arrival of its Measurement; by its last windows one is 0.2 s late."""


@contextmanager
def sending(folder: Path, makai: Any) -> Iterator[tuple[RepeatedSource, Gateway]]:
    """A gateway with Box 1 on a pty, that sends to `makai`."""
    source = RepeatedSource(1)
    lines = [f'data_dir = "{folder}"', 'health_endpoint = "127.0.0.1:0"', "[uplink]"]
    lines += [f'{key} = "{value}"' for key, value in makai.endpoints.items()]
    with BoxHost([Box("1", source)]) as host:
        lines += ["[[box]]", 'id = "1"', f'port = "{host.ports["1"]}"']
        (folder / "gateway.toml").write_text("\n".join(lines))
        gateway = Gateway(config.load(folder / "gateway.toml"))
        with in_thread(gateway.run):
            yield source, gateway


def prompt_ones(makai: Any) -> list[Measurement]:
    """Those that arrived soon after their end; the machine may stop at any other."""
    came = zip(list(makai.arrived_ns), makai.decoded(), strict=False)
    return [each for arrived_ns, each in came if arrived_ns - each.end_ns <= PROMPT_NS]


def shows(makai: Any, of: Callable[[Measurement], bool]) -> Callable[[], list[Measurement]]:
    return lambda: [each for each in makai.decoded() if of(each)]


def test_an_original_broker_gets_each_measurement_once(tmp_path: Path, makai: Any, keys: KeyFolder) -> None:
    with sending(tmp_path, makai) as (source, gateway):
        wait_for(lambda: len(makai.measurements) >= 2)
        for sags in (1, 2):
            source.sag()
            wait_for(lambda sags=sags: gateway.counters["1"]["crossings_withheld"] == 2 * sags)
            wait_for(shows(makai, lambda each: each.metrics["rms"].min < 75))
            known = len(makai.measurements)
            wait_for(lambda known=known: len(makai.measurements) >= known + 2)
        wait_for(lambda: len(prompt_ones(makai)) >= 2, 600)
    made = makai.decoded()
    assert not any(each.crossing for each in made)
    assert all(before.end_ns == after.start_ns for before, after in pairwise(made))
    assert [each.sequence for each in made] == list(range(made[0].sequence, made[0].sequence + len(made)))
    assert all({"rms", "f", "thd", "trans"} <= set(each.metrics) for each in made[1:-1])
    assert gateway.counters["1"]["crossings"] >= 4 and gateway.counters["1"]["crossings_sent"] == 0


def test_an_acknowledging_broker_gets_crossings(tmp_path: Path, makai: Any, keys: KeyFolder) -> None:
    with sending(tmp_path, makai) as (source, gateway):
        first = wait_for(makai.decoded)[0]
        makai.command(b"1", plugin_command("1", ACK_PLUGIN, str(first.sequence), "test"))
        wait_for(lambda: gateway.statuses["1"].acknowledging)
        source.sag()
        wait_for(lambda: gateway.counters["1"]["crossings_sent"] == 2)
        wait_for(lambda: len(shows(makai, lambda each: each.crossing)()) == 2)
        known = len(makai.measurements)
        wait_for(lambda: len(makai.measurements) >= known + 3)
    windows = [each for each in makai.decoded() if each.is_window and not each.crossing]
    windows = [each for each in windows if not each.backfilled]
    assert all(before.end_ns == after.start_ns for before, after in pairwise(windows))
    assert gateway.counters["1"]["crossings_withheld"] == 0
