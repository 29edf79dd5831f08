"""Facts that stand in two places say the same: Python, pages, scripts."""

import re
from pathlib import Path

import opq_cloud
from opq_cloud.mauka.joining.onset_rule import FOLLOWS_NS
from opq_cloud.view.live.recent import FRESH_MS, RECENT_MS
from opq_cloud.view.pages.boxes.sparkline import (
    NORMAL_PERCENT,
    SHOWN_PERCENT,
    SPARK_HEIGHT,
    SPARK_MARGIN,
    SPARK_WIDTH,
)
from opq_cloud.view.pages.incidents import incident_page

ROOM = Path(opq_cloud.__file__).parent


def test_page_and_mauka_agree_on_following_incidents() -> None:
    assert incident_page.FOLLOWS_NS == FOLLOWS_NS


def test_scripts_and_templates_have_pythons_figures() -> None:
    script = (ROOM / "view" / "static" / "live.js").read_text()
    figures = dict(re.findall(r"^const (\w+_MS) = ([\d_]+);", script, re.M))
    assert (int(figures["FRESH_MS"]), int(figures["SPARK_MS"])) == (FRESH_MS, RECENT_MS)
    pairs = dict(re.findall(r"^const (\w+_PERCENT) = \[(\d+, \d+)\];", script, re.M))
    for name, wanted in (("NORMAL_PERCENT", NORMAL_PERCENT), ("SHOWN_PERCENT", SHOWN_PERCENT)):
        assert tuple(float(edge) for edge in pairs[name].split(",")) == wanted
    assert f"const SPARK_MARGIN = {SPARK_MARGIN};" in script
    template = (ROOM / "view" / "templates" / "parts.html").read_text()
    assert f'data-spark viewBox="0 0 {SPARK_WIDTH} {SPARK_HEIGHT}"' in template
