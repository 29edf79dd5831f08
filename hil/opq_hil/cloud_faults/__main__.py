"""`python -m opq_hil.cloud_faults SEED FOLDER PARENT_PID [--mounted]`: plays a schedule, prints its
verdict as JSON.
"""

import json
import sys
from pathlib import Path

from opq_hil.cloud_faults.cloud_services import LOADED
from opq_hil.cloud_faults.schedule import draw_cloud
from opq_hil.cloud_faults.verdict import play_cloud
from opq_hil.gateway_faults.child import end_with
from opq_hil.gateway_faults.fork_server import fork_server
from opq_proto import log

if __name__ == "__main__":
    end_with(int(sys.argv[3]))
    server = fork_server(LOADED)  # before the first thread
    log.configure("cloud-faults")
    verdict = play_cloud(draw_cloud(int(sys.argv[1])), Path(sys.argv[2]), "--mounted" in sys.argv[4:], server)
    print(json.dumps(verdict.document()))
    sys.exit(0 if verdict.ok else 1)
