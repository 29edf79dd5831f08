"""`python -m opq_hil.gateway_faults SEED FOLDER PARENT_PID [--mounted]`: plays a schedule, prints its
verdict as JSON.
"""

import json
import sys
from pathlib import Path

from opq_hil.gateway_faults.child import end_with
from opq_hil.gateway_faults.schedule import draw
from opq_hil.gateway_faults.verdict import play_gateway
from opq_hil.gateway_faults.world import BOX_IDS
from opq_proto import log

if __name__ == "__main__":
    end_with(int(sys.argv[3]))
    log.configure("gateway-faults")
    verdict = play_gateway(draw(int(sys.argv[1]), BOX_IDS), Path(sys.argv[2]), "--mounted" in sys.argv[4:])
    print(json.dumps(verdict.document()))
    sys.exit(0 if verdict.ok else 1)
