"""`python -m opq_sim.faults.silence SEED FOLDER PARENT_PID [--mounted]`: plays a schedule, prints its
verdict as JSON."""

import json
import sys
from pathlib import Path

from opq_proto.kit import log
from opq_sim.faults.silence.schedule import draw_silences
from opq_sim.faults.silence.verdict import play_silences
from opq_sim.parent import end_with

if __name__ == "__main__":
    end_with(int(sys.argv[3]))
    log.configure("silence-faults")
    verdict = play_silences(draw_silences(int(sys.argv[1])), Path(sys.argv[2]))
    print(json.dumps(verdict.document()))
    sys.exit(0 if verdict.ok else 1)
