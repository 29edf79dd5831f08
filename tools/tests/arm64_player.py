"""What test_arm64.py has both machines do, each by its own Python: measure, read a ring, make golden vectors.

Prints one JSON document. Paths are absolute: proot of Debian passes some system calls on untranslated.
"""

import hashlib
import importlib
import json
import platform
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from opq_gateway.ring.ring import Ring
from opq_proto.keys.key_files import KeyFolder

MEASUREMENTS = 5
TURNS, TURN_S = 400, 3.0
"""Longest course: twenty minutes, of which a gateway under emulation needs two or three to start."""
FAR_NS = 1 << 62


def measure(folder: Path, offset: str) -> dict[str, Any]:
    """A gateway with one simulated Box, until it has measured a few times; both end in order."""
    folder.mkdir()
    KeyFolder(folder / "curve").create(True, ["1"])
    config = folder / "gateway.toml"
    config.write_text(f'data_dir = "{folder}"\n[[box]]\nid = "1"\nport = "{folder}/ports/box1"\n')
    box = [sys.executable, "-m", "opq_sim.box", "--sim", "1", "--ports-dir", str(folder / "ports")]
    gateway = [sys.executable, "-m", "opq_gateway", "run", "--config", str(config), "--port-offset", offset]
    with (folder / "log").open("wb") as log:
        processes = [subprocess.Popen(words, stdout=log, stderr=log) for words in (box, gateway)]
        try:
            found = _measured(8913 + int(offset), processes)
        finally:
            for process in processes[::-1]:
                process.terminate()
            codes = [process.wait(240) for process in processes[::-1]]
    return {"measurements": found, "gateway_ended_with": codes[0]}


def _measured(port: int, processes: list[subprocess.Popen[bytes]]) -> float:
    name = 'opq_gateway_measurements_total{box_id="1"} '
    for _ in range(TURNS):
        ended = [process.returncode for process in processes if process.poll() is not None]
        if ended:
            raise SystemExit(f"a process ended with {ended}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=240) as answer:
                text = answer.read().decode()
        except OSError:
            text = ""
        found = float(text.partition(name)[2].partition("\n")[0] or 0)
        if found >= MEASUREMENTS:
            return found
        time.sleep(TURN_S)
    raise SystemExit("nothing was measured")


def ring(folder: Path) -> dict[str, Any]:
    """All samples of the Box's ring, by number and sum, and what they are."""
    blocks = Ring(folder / "gateway/box1/ring", "1", 24.0).read_blocks(0, FAR_NS)
    counts = np.concatenate([block.counts for block in blocks]).astype("<i2")
    return {
        "samples": len(counts),
        "sha256": hashlib.sha256(counts.tobytes()).hexdigest(),
        "rms_lsb": float(np.sqrt(np.mean(counts.astype(float) ** 2))),
        "first_ns": blocks[0].t_ns,
        "first_sample": blocks[0].first_sample,
    }


def golden(folder: Path) -> dict[str, Any]:
    """The golden vectors, made here, beside the files."""
    sys.path.insert(0, str(folder))
    made = importlib.import_module("make").files()
    other = [name for name, text in made.items() if (folder / name).read_text(encoding="utf-8") != text]
    return {"files": len(made), "different": other}


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))  # so that nothing stays behind
    what, folder, *more = sys.argv[1:]
    found = {"measure": measure, "ring": ring, "golden": golden}[what](Path(folder), *more)  # type: ignore[operator]
    print(json.dumps({"machine": platform.machine(), "bits": 64 if sys.maxsize > 2**32 else 32, **found}))


if __name__ == "__main__":
    main()
