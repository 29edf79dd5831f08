"""`python -m opq_sim.faults SUITE SEED FOLDER PARENT_PID [--mounted]`: plays the schedule of a seed, prints
its verdict as JSON."""

import json
import sys
from pathlib import Path

from opq_proto.kit import log
from opq_sim.faults.suites import SUITES
from opq_sim.parent import end_with

if __name__ == "__main__":
    name, seed, folder, parent, *options = sys.argv[1:]
    end_with(int(parent))
    log.configure(name)
    verdict = SUITES[name].play(SUITES[name].draw(int(seed)), Path(folder), "--mounted" in options)
    print(json.dumps(verdict.document()))
    sys.exit(0 if verdict.ok else 1)
