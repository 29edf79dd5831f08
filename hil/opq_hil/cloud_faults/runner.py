"""Runner: schedules by seed, each in a process of its own, a few side by side; a tally of all."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from opq_hil.cloud_faults.known_defects import KNOWN_DEFECTS, KnownDefect, seen_of
from opq_hil.cloud_faults.schedule import draw_cloud
from opq_hil.gateway_faults import runner
from opq_hil.gateway_faults.runner import Document, SeededWorld

CLOUD: Final = SeededWorld("opq_hil.cloud_faults", lambda seed: {**draw_cloud(seed).document(), "known": {}})
SIDE_BY_SIDE: Final = 4
"""A world takes a third of a core: it waits for its faults most of the time."""
ADDED: Final = (
    "made", "stored", "held", "backfilled", "dips", "dips_found", "dips_excused", "events", "incidents",
    "hostile_frames", "ended_by_themselves",
)  # fmt: skip


def play_cloud_seeds(
    seeds: Sequence[int],
    folder: Path,
    told: Callable[[Document], None] = lambda _: None,
    side_by_side: int = SIDE_BY_SIDE,
) -> list[Document]:
    """Play the schedules of `seeds`, as `gateway_faults.runner.play_seeds` does."""
    return runner.play_seeds(seeds, folder, told, side_by_side, CLOUD)


def cloud_tally(
    documents: Sequence[Document], table: Sequence[KnownDefect] = KNOWN_DEFECTS
) -> dict[str, Any]:
    """All schedules together, with what was seen of the known defects."""
    played = [({fault["kind"] for fault in each["faults"]}, each["known"]) for each in documents]
    return {**runner.tally(documents, ADDED), "known_defects": seen_of(played, table)}


def cloud_line(document: Document) -> str:
    """One schedule in a line; below it what is known to go wrong and did, and what failed."""
    figures = document["figures"]
    kinds = ", ".join(fault["kind"] for fault in document["faults"])
    text = (
        f"{'ok' if document['ok'] else 'FAILED':<6} seed {document['seed']:<5} "
        f"{figures.get('stored', 0)} + {figures.get('held', 0)} of {figures.get('made', 0)} Measurements "
        f"stored + held, {figures.get('dips_found', 0)} + {figures.get('dips_excused', 0)} of "
        f"{figures.get('dips', 0)} dips found + excused, {figures.get('wall_s', 0)} s: {kinds}"
    )
    known = [
        f"       known, {name}: {problem}"
        for name, problems in document["known"].items()
        for problem in problems
    ]
    return "\n".join([text, *known, *(f"       {problem}" for problem in document["problems"])])
