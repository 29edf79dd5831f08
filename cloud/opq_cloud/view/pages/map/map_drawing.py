"""The drawing of a page with a map, and the state that replaces it each second, from one source.

`/map` and `/wall` show the same map with the same figures, each for its own audience.
"""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from opq_cloud.core.page_parts import FailedPart, ShownParts, made_parts
from opq_cloud.core.settings.view import ViewSection
from opq_cloud.view.pages.drawing.alike_incidents import READ_FOR_EACH_ROW, AlikeRow, fold
from opq_cloud.view.pages.map.grid_now import (
    LOUDEST,
    TONES,
    BoxesNow,
    GroupNow,
    grids_now,
    regions_now,
    state_of,
)
from opq_cloud.view.pages.map.grid_reader import GridReader
from opq_cloud.view.pages.map.map_frame import WORLD, MapFrame, frame_of
from opq_cloud.view.pages.map.map_marks import (
    ROWS_LISTED,
    SHAPES,
    MapMark,
    map_marks,
    map_plan,
    rows_of,
)
from opq_cloud.view.pages.visible.availability import (
    BoxAvailability,
    FleetAvailability,
    percent_words,
    together,
    tone_of,
)
from opq_cloud.view.pages.visible.fuzz import MAX_RADII
from opq_cloud.view.web import words
from opq_proto.messages import Incident

INCIDENTS_SHOWN = 6
REGIONS_SHOWN = 40
SCOPE_SHORT = {
    "local": "local, one place",
    "feeder": "feeder, several places of one",
    "region": "region, several feeders",
    "wide_area": "wide area, several regions or the whole grid",
}
ROOT = Path(__file__).parents[2]
GroupRow = tuple[str, GroupNow, Mapping[str, str]]
"""("grid" or "region", group, figures)."""


@dataclass(frozen=True, slots=True)
class MapDrawing:
    """One map: its window, marks and texts."""

    frame: MapFrame
    marks: tuple[MapMark, ...]
    rows: tuple[MapMark, ...]
    figures: Mapping[str, Mapping[str, str]]
    """Mark -> its figures, as a row of the table."""
    failed: tuple[FailedPart, ...]
    """Marks that could not be made."""
    not_listed: int
    tile_url: str
    """The address of a tile server's images; empty for none."""
    attribution: str
    summary: str
    measured: FleetAvailability
    outside: int
    """Boxes with a place that is not in the window."""
    unplaced: int
    """Boxes without a known place."""
    rough_words: str
    """How far marks are from their Boxes; empty where all are exact."""


def draw_map(reader: GridReader, config: ViewSection, frame: MapFrame | None) -> MapDrawing:
    """Draws what the request's visitor sees; the default window is that of the visible Boxes."""
    boxes = reader.boxes()
    regions = regions_now(boxes)
    if frame is None:
        frame = _whole_frame(boxes)
    marks, figures, failed = _marks_with_figures(map_marks(boxes, regions, frame, reader.radius_km))
    rows = rows_of(marks)
    plan = map_plan(boxes.fixed, frame, reader.radius_km)
    return MapDrawing(
        frame=frame,
        marks=marks,
        rows=rows,
        figures=figures,
        failed=failed,
        not_listed=len(marks) - min(len(marks), ROWS_LISTED),
        tile_url=config.tile_url or "",
        attribution=config.tile_attribution if config.tile_url else "",
        summary=map_summary(boxes),
        measured=measured_now(boxes),
        outside=plan.outside,
        unplaced=plan.unplaced,
        rough_words=_rough_words(marks, reader.radius_km),
    )


def empty_map(config: ViewSection, frame: MapFrame | None) -> MapDrawing:
    """A map without marks, where `draw_map` fails."""
    return MapDrawing(
        frame=frame or WORLD,
        marks=(),
        rows=(),
        figures={},
        failed=(),
        not_listed=0,
        tile_url=config.tile_url or "",
        attribution=config.tile_attribution if config.tile_url else "",
        summary="",
        measured=together(()),
        outside=0,
        unplaced=0,
        rough_words="",
    )


def map_summary(now: BoxesNow) -> str:
    """The present state in one sentence."""
    if not len(now):
        return "No Box is shown here yet."
    live = int((~now.silent).sum())
    far = np.isin(now.loudness, (LOUDEST["too-low"], LOUDEST["too-high"]))
    outside = int((far & now.usable(now.u_percent)).sum())
    summary = words.reporting(len(now), live)
    if not live:
        return summary
    if outside:
        return f"{summary} Voltage is more than 10 % off nominal at {outside} of them."
    return f"{summary} Voltage is within 10 % of nominal at {'it' if live == 1 else 'each that reports'}."


def silent_words(boxes: BoxesNow) -> tuple[str, str] | None:
    """The heading of a page where no Box reports; `grid.js` shows the same later."""
    if not len(boxes) or not boxes.silent.all():
        return None
    return "No Box reports now.", "Figures appear here again as soon as a Box reports."


def live_state(reader: GridReader, frame: MapFrame | None) -> dict[str, object]:
    """The state with which open pages replace theirs; only this function makes its words and tones."""
    boxes = reader.boxes()
    regions, measured = regions_now(boxes), measured_now(boxes)
    if frame is None:
        frame = _whole_frame(boxes)
    marks, figures, _ = _marks_with_figures(map_marks(boxes, regions, frame, reader.radius_km))
    return {
        "version": page_version(),
        "summary": map_summary(boxes),
        "measured": measured.text,
        "measured_tone": measured.tone,
        "silent": silent_words(boxes) is not None,
        "marks": {
            mark.mark_id: {
                "tone": mark.tone,
                "shape": SHAPES[mark.tone],
                **figures[mark.mark_id],
            }
            for mark in marks
        },
        "figures": {
            f"{kind} {group.name} {name}": text
            for kind, group, shown in groups_with_figures(boxes, None, REGIONS_SHOWN)[0]
            for name, text in shown.items()
        },
        "incidents": ShownParts().made("Newest incidents", lambda: incident_lines(reader), []),
    }


def groups_with_figures(
    boxes: BoxesNow, grids: int | None, regions: int
) -> tuple[Sequence[GroupRow], tuple[FailedPart, ...]]:
    """The first grids (None: all) and regions, as rows; and those that fail."""
    groups = [
        *(("grid", each) for each in grids_now(boxes)[:grids]),
        *(("region", each) for each in regions_now(boxes)[:regions]),
    ]
    return made_parts(
        groups,
        lambda kind_and_group: f"{kind_and_group[0].capitalize()} {kind_and_group[1].name}",
        lambda kind_and_group: (*kind_and_group, group_figures(kind_and_group[1])),
    )


def _marks_with_figures(
    marks: Sequence[MapMark],
) -> tuple[tuple[MapMark, ...], Mapping[str, Mapping[str, str]], tuple[FailedPart, ...]]:
    """The marks that have words, the figures of each, and those that fail."""

    def shown(mark: MapMark) -> tuple[MapMark, Mapping[str, str]]:
        return mark, mark_figures(mark) | {"text": mark.text}

    made, failed = made_parts(marks, lambda mark: mark.label, shown)
    return tuple(mark for mark, _ in made), {mark.mark_id: figures for mark, figures in made}, failed


def group_figures(group: GroupNow) -> dict[str, str]:
    """Figures of a grid or region as pages show them."""
    return {
        "f": words.number(group.f_hz, 3),
        "u": words.number(group.u_percent, 1),
        "boxes": words.reporting(group.boxes, group.reporting),
        "state": group.state,
    }


def mark_figures(mark: MapMark) -> dict[str, str]:
    """A row of the map's table."""
    state = TONES[mark.tone]
    if mark.boxes > 1:
        state = state_of(mark.tone, mark.reporting, mark.u_percent)
        state = f"{mark.reporting} of {mark.boxes} Boxes report; {state}"
    return {
        "u": words.number(mark.u_percent, 1, "%"),
        "f": words.number(mark.f_hz, 3, "Hz"),
        "measured": percent_words(mark.hour_share),
        "measured_tone": tone_of(mark.hour_share),
        "state": mark.with_lateness(state),
    }


def measured_now(boxes: BoxesNow) -> FleetAvailability:
    """The measured share of the last hour of all Boxes that are shown themselves."""
    known = boxes.measured[~np.isnan(boxes.measured)]
    return together(BoxAvailability(hour=share) for share in known.tolist())


def incident_lines(reader: GridReader) -> list[dict[str, object]]:
    """The newest incidents, in words; steady states that began together are one line."""
    read = reader.newest_incidents(INCIDENTS_SHOWN * READ_FOR_EACH_ROW)
    names = {each.incident.incident_id: each.names for each in read if each.incident is not None}
    rows = fold((each.incident for each in read if each.incident is not None), INCIDENTS_SHOWN)
    return [_incident_line(row, names[row.first.incident_id]) for row in rows]


def _incident_line(row: AlikeRow[Incident], names: words.Names) -> dict[str, object]:
    incident = row.first
    outline = words.outline(incident, names)
    return {
        "id": incident.incident_id,
        "href": row.address,
        "tone": words.class_tone(incident.kind),
        "class_words": words.class_words(incident.kind),
        "outline": f"{outline} {row.words}" if row.others else outline,
        "scope": SCOPE_SHORT.get(incident.scope or "", ""),
        "when": words.utc(incident.start_ns, 0),
        "start_ms": incident.start_ns // 1_000_000,
    }


def _whole_frame(boxes: BoxesNow) -> MapFrame:
    """The window of the visible Boxes, and of regions with Boxes that are not shown."""

    def make() -> MapFrame:
        fixed = boxes.fixed
        shown = [each.at for each in fixed.boxes if each.at is not None and not each.regional]
        of_regions = zip(fixed.regions.at, fixed.regions.regional, strict=True)
        return frame_of([*shown, *(at for at, regional in of_regions if at is not None and regional)])

    found: MapFrame = boxes.fixed.plan("whole", make)
    return found


def tile_origin(url: str | None) -> str:
    """The origin from which a page with tiles may load images: `https://tiles.example`; empty for none."""
    if not url:
        return ""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _rough_words(marks: Sequence[MapMark], radius_km: float) -> str:
    if not any(mark.rough for mark in marks):
        return ""
    off = f"{radius_km:g} to {radius_km * MAX_RADII:.3g} km off"
    return f"Marks are near their Boxes, not at them: {off}, always by the same."


@functools.cache
def page_version() -> str:
    """Changes with every file of the pages, so that a wall with an older version reloads itself."""
    try:
        digest = hashlib.sha256(version("opq-toolkit").encode())
    except PackageNotFoundError:
        digest = hashlib.sha256()
    for path in sorted([*(ROOT / "static").glob("*.*"), *(ROOT / "templates").glob("*.html")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
