"""`python -m opq_sim.faults.gateway SEED FOLDER PARENT_PID [--mounted]`: plays a schedule, prints its
verdict as JSON.
"""

import json
import sys
from pathlib import Path

from opq_proto.kit import log
from opq_sim.faults.gateway.schedule import draw
from opq_sim.faults.gateway.verdict import play_gateway
from opq_sim.faults.gateway.world import BOX_IDS
from opq_sim.parent import end_with

if __name__ == "__main__":
    end_with(int(sys.argv[3]))
    log.configure("gateway-faults")
    verdict = play_gateway(draw(int(sys.argv[1]), BOX_IDS), Path(sys.argv[2]), "--mounted" in sys.argv[4:])
    print(json.dumps(verdict.document()))
    sys.exit(0 if verdict.ok else 1)
