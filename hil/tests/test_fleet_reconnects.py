"""A fleet's Boxes and a broker's process that is killed and comes back at its ports."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from fleet_cloud import FleetCloud, wait_for

from opq_sim.fleet.connections import REMAKE_S, FleetConnections

BOXES = 60
"""More than are opened, and made again, at once."""


@contextmanager
def killed_broker(cloud: FleetCloud) -> Iterator[None]:
    """A triggering broker in its own process; `kill -9` behind the block."""
    command = [sys.executable, "-m", "opq_cloud", "triggering-broker", "--data-dir", str(cloud.folder)]
    with (cloud.folder / "broker.log").open("ab") as log:
        process = subprocess.Popen([*command, "--port-offset", str(cloud.offset)], stdout=log, stderr=log)
    try:
        yield
        assert process.poll() is None, (cloud.folder / "broker.log").read_text()
    finally:
        process.kill()
        process.wait()


def standing(lines: FleetConnections, share: int) -> bool:
    lines.open_more(time.monotonic())
    lines.wait(0.02)
    return int(lines.stands.sum()) == share


def test_long_stopped_boxes_reconnect(tmp_path):
    """By themselves; refused connections are made again."""
    cloud = FleetCloud(tmp_path, [str(number) for number in range(1, BOXES + 1)])
    lines = FleetConnections(
        cloud.box_ids, cloud.pairs(), cloud.server.public, cloud.endpoints, lambda box, data: None, 500
    )
    try:
        with killed_broker(cloud):
            wait_for(lambda: standing(lines, BOXES), "every Box stands")
            later_s = time.monotonic() + 2 * REMAKE_S
            lines.tick(later_s)
        wait_for(lambda: standing(lines, 0), "every Box sees that the broker went")
        lines.tick(later_s + 1.0)
        assert (lines.remade, lines.opened) == (0, BOXES)  # lost a moment ago, however long ago opened
        with killed_broker(cloud):
            wait_for(lambda: standing(lines, BOXES), "every Box is back")
            lines.tick(later_s + 2.0)
        assert (lines.remade, lines.lost, lines.connected) == (0, BOXES, 2 * BOXES)

        wait_for(lambda: standing(lines, 0), "every Box sees that it went again")
        lines.tick(later_s + 4 * REMAKE_S)
        lines.tick(later_s + 4 * REMAKE_S)
        assert lines.remade == BOXES  # each once: one that has no sockets is not made again
        with killed_broker(cloud):
            wait_for(lambda: standing(lines, BOXES), "every Box is back on new sockets")
    finally:
        lines.close()
        cloud.close()
