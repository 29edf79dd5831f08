"""`python -m opq_hil.silence_faults SEED FOLDER PARENT_PID [--mounted]`: plays a schedule, prints its
verdict as JSON."""

import json
import sys
from pathlib import Path

from opq_hil.gateway_faults.child import end_with
from opq_hil.silence_faults.schedule import draw_silences
from opq_hil.silence_faults.verdict import play_silences
from opq_proto import log

if __name__ == "__main__":
    end_with(int(sys.argv[3]))
    log.configure("silence-faults")
    verdict = play_silences(draw_silences(int(sys.argv[1])), Path(sys.argv[2]))
    print(json.dumps(verdict.document()))
    sys.exit(0 if verdict.ok else 1)
