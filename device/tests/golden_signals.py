"""The golden signals of the mains (proto/golden/dsp) as arrays; format: proto/golden/README.md."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).resolve().parents[2] / "proto" / "golden" / "dsp"


@dataclass(frozen=True)
class GoldenSignal:
    """Counts of one case and the facts of its file."""

    name: str
    counts: Any
    nominal_hz: float
    nominal_v: float
    v_per_lsb: float
    gap: tuple[int, int] | None


def golden_signal(path: Path) -> GoldenSignal:
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line and line[0] != "#"]
    facts = [(word, rest.split()) for word, _, rest in (line.partition(" ") for line in lines)]
    single = dict(facts)
    k = np.arange(int(single["samples"][0]))
    total = np.zeros(len(k))
    for word, values in facts:
        if word == "tone":
            step, phase, begin, end = (int(values[i]) for i in (0, 1, 3, 4))
            turns = ((phase + step * k) % 2**32) / 2**32
            total += np.where((k >= begin) & (k < end), float(values[2]) * np.sin(2 * np.pi * turns), 0.0)
    for word, values in facts:
        if word == "scale":
            begin, end, permille = map(int, values)
            total[begin:end] *= permille / 1000
    clip = int(single["clip_lsb"][0])
    counts = np.clip(np.rint(total) + int(single["dc_lsb"][0]), -clip, clip).astype(np.int16)
    gap = single.get("gap")
    return GoldenSignal(
        path.stem,
        counts,
        float(single["nominal_hz"][0]),
        float(single["nominal_v"][0]),
        float(single["v_per_lsb"][0]),
        (int(gap[0]), int(gap[1])) if gap else None,
    )


def golden_signals() -> list[GoldenSignal]:
    return [golden_signal(path) for path in sorted(GOLDEN.glob("*.txt"))]
