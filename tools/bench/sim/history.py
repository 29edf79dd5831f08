"""A history in a process of its own: Box-hours per CPU minute, and no longer than it may take.

It runs through its command, as a user starts it; no Box of the other parts has anything to do with it.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from opq_proto.errors import OpqError

LEAST_S = 10.0


def history_pace(boxes: int, seconds: float, within_s: float) -> float:
    """Box-hours per CPU minute of `sim history` over so many seconds of undisturbed Boxes.

    Raises:
        OpqError: it did not end within `within_s`, or ended with an error.
    """
    with tempfile.TemporaryDirectory(prefix="opq-bench-") as folder:
        command = [sys.executable, "-c", "from opq_tools.cli import main; main()", "sim", "history"]
        command += ["--days", str(seconds / 86_400), "--boxes", str(boxes)]
        command += ["--into", str(Path(folder) / "data"), "--json"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=max(LEAST_S, within_s), check=False
            )
        except subprocess.TimeoutExpired:
            raise OpqError(f"the history of {seconds:g} s did not end within {within_s:.0f} s") from None
    if done.returncode:
        raise OpqError(f"the history ended with an error: {done.stderr.strip()[-200:]}")
    pace: float = json.loads(done.stdout)["box_hours_per_cpu_minute"]
    return pace
