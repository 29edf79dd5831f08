"""How sure changes and likenesses are, on months and fleets that no threshold was set on; as JSON.

python cloud/plugins/change/tests/change_figures.py [--quick] |
    python tools/figures.py change
"""

import json
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package, as its worker has it

from box_months import PLANTED, month, score
from known_fleets import KnownFleet, known_fleet

from opq_change.likeness import likenesses, most_likely

HELD_OUT = (range(700, 720), range(800, 820), range(900, 920))
"""Seeds of 60 Box-months each. Thresholds were set on 0 to 59; 200 to 619 were looked at before."""
QUIET = range(1000, 1020)
"""Seeds of months without any change."""
FLEETS = range(100, 140)
"""Seeds of fleets; the usual correlations and the least likelihood were set on 0 to 19."""
TRANSFORMERS = (2, 3, 8)
WORDS = {
    "level_step": "steps of the supply, 1 to 2.5 %",
    "own_step": "steps of a gain, 0.3 to 1.5 %",
    "own_drift": "drift of a gain, 0.6 to 1.5 % in 5 to 25 days",
    "profile_change": "changes of the daily profile, a new load or generation of 0.8 to 1.5 %",
}


def pairs_found(fleet: KnownFleet) -> tuple[int, int, int]:
    """Pairs that are said to be on one phase and are, all that are said to be, all that are."""
    pairs = likenesses(fleet.values)
    said = most_likely(pairs)
    right = sum(fleet.relation(*each.box_ids) == "same_phase" for each in said)
    return right, len(said), sum(fleet.relation(*each.box_ids) == "same_phase" for each in pairs)


def figures(quick: bool) -> list[dict[str, object]]:
    """The rows of the page's table."""
    sets = [seeds[:1] if quick else seeds for seeds in HELD_OUT]
    scores = [score([month(seed) for seed in seeds]) for seeds in sets]
    planted = sum((each[0] for each in scores), Counter[str]())
    rows = []
    for kind in PLANTED:
        shares = [100 * found[kind] / there[kind] for there, found, _ in scores]
        total = 100 * sum(found[kind] for _, found, _ in scores) / planted[kind]
        rows.append(_row(f"found of {planted[kind]} {WORDS[kind]}", "%", total, shares))
    shares = [100 * found.total() / there.total() for there, found, _ in scores]
    rows.append(
        _row(f"found of all {planted.total()}", "%", sum(shares) / len(shares), shares, "at least 95")
    )
    false = [each[2] for each in scores]
    rows.append(_row("false alarms a Box-month", "", sum(false) / len(false), false, "at most 1"))
    quiet = score([month(seed, ()) for seed in (QUIET[:1] if quick else QUIET)])[2]
    rows.append(_row("false alarms a Box-month without any change", "", quiet, [quiet], "at most 1"))
    for number, count in enumerate(TRANSFORMERS):
        seeds = FLEETS[number :: len(TRANSFORMERS)]
        found = [pairs_found(known_fleet(seed, count)) for seed in (seeds[:1] if quick else seeds)]
        right, said, there = (sum(each) for each in zip(*found, strict=True))
        fleets = f"{len(found)} fleets of {count} transformers"
        rows.append(_row(f"right of {said} pairs said to be on one phase, {fleets}", "%", 100 * right / said))
        rows.append(_row(f"found of {there} pairs on one phase, {fleets}", "%", 100 * right / there))
    return rows


def _row(
    case: str, unit: str, value: float, runs: list[float] | None = None, wanted: str | None = None
) -> dict[str, object]:
    runs = runs or [value]
    least, most = min(runs), max(runs)
    return {
        "case": case,
        "unit": unit,
        "value": value,
        "min": least,
        "max": most,
        "runs": len(runs),
        "limit": wanted,
    }


def main() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "tools"))
    from bench.harness.result import commit, machine

    rows = figures("--quick" in sys.argv)
    print(json.dumps({"bench": "change", "machine": machine(), "commit": commit(), "results": rows}))


if __name__ == "__main__":
    main()
