"""The report as one HTML file that needs no other file, and as PDF.

Colours and type are those of View: its stylesheet names the tokens. For paper they are put in as values,
because a printed drawing knows no variables.
"""

import logging
import math
import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import opq_cloud
from opq_cloud.core.page_parts import made_parts
from opq_cloud.export.exported_records import software_name
from opq_cloud.reports.as_json import unconfirmed
from opq_cloud.reports.drawings import HEIGHT, WIDTH, events_drawing, harmonics_drawing, voltage_drawing
from opq_cloud.reports.limit_table import Limit
from opq_cloud.reports.many_places import FleetReport
from opq_cloud.reports.missing_letters import missing_letters, missing_words
from opq_cloud.reports.sentences import events_sentence, number_words, sentences
from opq_cloud.reports.verdicts import Verdict, VerdictRow, verdict_of
from opq_cloud.reports.week_report import WeekReport
from opq_proto.errors import OpqError
from opq_proto.kit import drawing
from opq_proto.measurement.intervals import INTERVAL_WORDS

FOLDER = Path(__file__).parent / "templates"
VIEW_CSS = Path(opq_cloud.__file__).parent / "view" / "static" / "view.css"
NO_BAR = Markup()
VERDICT_WORDS = {"pass": "met", "fail": "not met", "not_assessed": "not assessed"}
EVENTS_LISTED = 40
TOGETHER_ON_PAPER = 3
"""Ten-minute values drawn as one: half an hour of a week is half a millimetre of paper."""
_ROOT = re.compile(r":root \{(.*?)\n\}", re.DOTALL)
_DARK = re.compile(r"@media \(prefers-color-scheme: dark\) \{\n  :root \{.*?\n  \}\n\}", re.DOTALL)
_TOKEN = re.compile(r"(--[\w-]+): ([^;]+);")
_VAR = re.compile(r"var\((--[\w-]+)\)")


SYSTEM_LIBRARIES = "libpango-1.0-0 libpangoft2-1.0-0 fonts-dejavu-core"
"""Packages of Debian and Ubuntu: libraries that WeasyPrint loads, and a font."""


class PdfMissingError(OpqError):
    """WeasyPrint, or a library of the system that it needs, is not installed."""


def report_html(
    fleet: FleetReport, now_words: str, for_paper: bool = False, bar: Markup = NO_BAR, theme: str = ""
) -> str:
    """All reports as one page.

    Args:
        now_words: the time of making, as it is shown.
        bar: what View puts above the report on its own page, with `theme`, light or dark, if one is chosen.
    """
    light, dark = _tokens()
    together = TOGETHER_ON_PAPER if for_paper else 1
    shown, broken = made_parts(
        fleet.reports, lambda each: each.place.name, lambda each: _shown(each, together)
    )
    style = (FOLDER / "report.css").read_text(encoding="utf-8")
    page = (
        _environment()
        .get_template("week.html")
        .render(
            fleet=fleet,
            reports=shown,
            broken=(*fleet.broken, *broken),
            bar=bar,
            theme=theme,
            style=style if for_paper else f"{light}\n{dark}\n{style}",
            software=software_name(),
            now=now_words,
            width=WIDTH,
            height=HEIGHT,
        )
    )
    return _with_values(page) if for_paper else page


def report_pdf(fleet: FleetReport, now_words: str) -> bytes:
    """The same as PDF, on A4. Raises PdfMissingError."""
    return html_as_pdf(report_html(fleet, now_words, for_paper=True))


def html_as_pdf(page: str) -> bytes:
    """A page for paper as PDF; it says at its end which of its letters no font here has.

    Raises:
        PdfMissingError: WeasyPrint or a library of the system that it needs is not installed.
    """
    try:
        from weasyprint import HTML
    except ModuleNotFoundError as error:
        raise PdfMissingError("PDF needs WeasyPrint: pip install 'opq-toolkit[report]'") from error
    except OSError as error:
        missing = str(error).partition(":")[0]
        raise PdfMissingError(
            f"PDF needs system libraries ({missing}): sudo apt install {SYSTEM_LIBRARIES}"
        ) from error
    # It warns of each property that only screens and drawings have, and draws what it should all the same.
    logging.getLogger("weasyprint").setLevel(logging.ERROR)
    if missing := missing_words(missing_letters(page), name_them=False):
        page = page.replace("</body>", f"<p>{missing[0].upper()}{missing[1:]}.</p></body>")
    made = HTML(string=page).write_pdf()
    return bytes(made or b"")


def _shown(report: WeekReport, together: int) -> dict[str, Any]:
    """What the template needs of one report."""
    first, *rest = sentences(report)
    by_limit: dict[Limit, dict[str, VerdictRow]] = {}
    for row in report.rows:
        by_limit.setdefault(row.limit, {})[row.channel] = row
    families: dict[str, list[tuple[Limit, dict[str, VerdictRow]]]] = {}
    for limit, rows in by_limit.items():
        if limit.order is not None and any(row.judgement.count for row in rows.values()):
            of = "each day" if limit.daily else "the week"
            name = f"{limit.requirement.percent:g} % values of {INTERVAL_WORDS[limit.interval_ms]} over {of}"
            families.setdefault(name, []).append((limit, rows))
    return {
        "report": report,
        "heading": first,
        "sentences": rest,
        "limits": [(limit, rows) for limit, rows in by_limit.items() if limit.order is None]
        + [_harmonics_line(by_limit)],
        "families": families,
        "voltages": [(phase, voltage_drawing(phase, report, together)) for phase in report.phases],
        "harmonics": harmonics_drawing(report),
        "events_drawing": events_drawing(report),
        "events": report.events[:EVENTS_LISTED],
        "no_event": events_sentence(report),
        "unconfirmed": unconfirmed(report),
        "least": min((phase.complete_percent for phase in report.phases), default=math.nan),
        "most_minutes": max(
            (phase.supply.minutes for phase in report.phases if phase.is_known), default=math.nan
        ),
        "labels": {
            box_id: phase.box.label if len(phase.box.box_ids) < 2 else f"Box {box_id}"
            for phase in report.phases
            for box_id in phase.box.box_ids or (phase.box.box_id,)
        },
    }


def _harmonics_line(
    by_limit: dict[Limit, dict[str, VerdictRow]],
) -> tuple[None, dict[str, tuple[Verdict, str]]]:
    """Channel -> verdict on all orders, and words, for one line of the table of verdicts."""
    orders: dict[str, list[VerdictRow]] = {}
    for limit, rows in by_limit.items():
        if limit.order is not None:
            for channel, row in rows.items():
                orders.setdefault(channel, []).append(row)
    found = {}
    for channel, own in orders.items():
        judged = [row for row in own if row.verdict != "not_assessed"]
        failed = sum(row.verdict == "fail" for row in judged)
        words = f"{failed} of {len(judged)} fail" if judged else own[0].why
        found[channel] = verdict_of(own), words
    return None, found


def tenths(value: float, unit: str = "%") -> str:
    """`99.6 %`; a dash for an unknown value."""
    return "–" if not math.isfinite(value) else f"{value:z.1f} {unit}".rstrip()


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["number"] = number_words
    made.filters["tenths"] = tenths
    made.globals["verdict_words"] = VERDICT_WORDS
    made.globals["interval_words"] = INTERVAL_WORDS
    made.globals["svg"] = drawing
    return made


@cache
def _tokens() -> tuple[str, str]:
    """The colours of View: the light ones, and the block that replaces them in the dark."""
    sheet = VIEW_CSS.read_text(encoding="utf-8")
    light, dark = _ROOT.search(sheet), _DARK.search(sheet)
    if light is None or dark is None:
        raise OpqError(f"{VIEW_CSS}: it has no colours")
    return light[0], dark[0]


@cache
def _values() -> dict[str, str]:
    return dict(_TOKEN.findall(_tokens()[0]))


def _with_values(page: str) -> str:
    """The page with the value of each token in its place."""
    return _VAR.sub(lambda found: _values().get(found[1], "inherit"), page)
