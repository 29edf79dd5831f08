"""`python -m opq_sim.faults.clock SEED FOLDER PARENT_PID [--mounted]`: plays the schedules of a seed side by
side, prints their verdict as JSON."""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from opq_sim.faults.gateway.fork_server import fork_server
from opq_sim.parent import end_with

LOADED = (
    "opq_cloud.__main__",
    "opq_cloud.makai.triggering_broker",
    "opq_cloud.makai.acquisition_broker",
    "opq_cloud.makai.triggering_service",
    "opq_cloud.makai.event_service",
    "opq_cloud.mauka.service",
    "opq_gateway.__main__",
    "opq_gateway.gateway",
)
BOXES_NICE = -10

if __name__ == "__main__":
    end_with(int(sys.argv[3]))
    server = fork_server(LOADED)  # before the first thread, and before anything that reads a clock is loaded
    with suppress(PermissionError):  # its Boxes have processors of their own, however busy this machine is
        os.setpriority(os.PRIO_PROCESS, 0, BOXES_NICE)
    from opq_proto.kit import log
    from opq_sim.faults.clock.schedule import draw_clocks
    from opq_sim.faults.clock.verdict import play_clocks

    log.configure("clock-faults")
    verdict = play_clocks(draw_clocks(int(sys.argv[1])), Path(sys.argv[2]), server)
    print(json.dumps(verdict.document()))
    sys.exit(0 if verdict.ok else 1)
