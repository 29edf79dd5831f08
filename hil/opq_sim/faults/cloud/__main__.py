"""`python -m opq_sim.faults.cloud SEED FOLDER PARENT_PID [--mounted]`: plays a schedule, prints its
verdict as JSON.
"""

import json
import sys
from pathlib import Path

from opq_proto.kit import log
from opq_sim.faults.cloud.cloud_services import LOADED
from opq_sim.faults.cloud.schedule import draw_cloud
from opq_sim.faults.cloud.verdict import play_cloud
from opq_sim.faults.gateway.fork_server import fork_server
from opq_sim.parent import end_with

if __name__ == "__main__":
    end_with(int(sys.argv[3]))
    server = fork_server(LOADED)  # before the first thread
    log.configure("cloud-faults")
    verdict = play_cloud(draw_cloud(int(sys.argv[1])), Path(sys.argv[2]), "--mounted" in sys.argv[4:], server)
    print(json.dumps(verdict.document()))
    sys.exit(0 if verdict.ok else 1)
