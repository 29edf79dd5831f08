"""Facts that stand in two places say the same: Python, pages, scripts, READMEs."""

import re
from pathlib import Path

import opq_cloud
from opq_cloud.config import CloudConfig
from opq_cloud.makai.event_service import FIRST_REQUEST_S
from opq_cloud.makai.triggers.threshold import Config as ThresholdConfig
from opq_cloud.mauka.joining.onset_rule import COMPOUND_NS, FOLLOWS_NS, LONGEST_NS, ONE_DISTURBANCE_NS
from opq_cloud.mauka.measuring.sightings import STEADY_STATES
from opq_cloud.mauka.running.installed_analyses import PATIENCE
from opq_cloud.mauka.running.waiting_events import (
    FIRST_RETRY_S,
    LONGEST_FAILED_S,
    LONGEST_RETRY_S,
    POLL_S,
    UNFINISHED_S,
)
from opq_cloud.mauka.service import TRIAL_S
from opq_cloud.runner import RESTART_S
from opq_cloud.store.embedded.measurement_log import SEAL_ROWS, SEAL_ROWS_PER_BOX
from opq_cloud.store.mongo.server import LEASE_S
from opq_cloud.view import alike_incidents, incident_page
from opq_cloud.view.live import STREAMS
from opq_cloud.view.live_route import HEARTBEAT_S
from opq_cloud.view.live_streams import INCIDENTS_WAITING, MEASUREMENTS_WAITING
from opq_cloud.view.recent import FRESH_MS, RECENT_MS
from opq_cloud.view.sparkline import NORMAL_PERCENT, SHOWN_PERCENT, SPARK_HEIGHT, SPARK_MARGIN, SPARK_WIDTH
from opq_plugins.host.guard import PAUSES_S

ROOM = Path(opq_cloud.__file__).parent
CONFIG = CloudConfig()


def text_of(path: Path) -> str:
    """Its words, with single blanks."""
    return " ".join(path.read_text().split())


def test_the_page_of_an_incident_and_mauka_agree_what_follows_what() -> None:
    assert incident_page.FOLLOWS_NS == FOLLOWS_NS and alike_incidents.STEADY_STATES == STEADY_STATES


def test_the_pages_scripts_and_templates_have_the_figures_of_python() -> None:
    script = (ROOM / "view" / "static" / "live.js").read_text()
    figures = dict(re.findall(r"^const (\w+_MS) = ([\d_]+);", script, re.M))
    assert (int(figures["FRESH_MS"]), int(figures["SPARK_MS"])) == (FRESH_MS, RECENT_MS)
    pairs = dict(re.findall(r"^const (\w+_PERCENT) = \[(\d+, \d+)\];", script, re.M))
    for name, wanted in (("NORMAL_PERCENT", NORMAL_PERCENT), ("SHOWN_PERCENT", SHOWN_PERCENT)):
        assert tuple(float(edge) for edge in pairs[name].split(",")) == wanted
    assert f"const SPARK_MARGIN = {SPARK_MARGIN};" in script
    template = (ROOM / "view" / "templates" / "parts.html").read_text()
    assert f'data-spark viewBox="0 0 {SPARK_WIDTH} {SPARK_HEIGHT}"' in template


def test_the_readme_of_the_cloud_has_the_figures_of_the_code() -> None:
    readme, makai = text_of(ROOM.parent / "README.md"), CONFIG.triggering_service
    assert f"after {RESTART_S[0]} s, {RESTART_S[1]} s, ... {RESTART_S[-1]:g} s" in readme
    assert f"asks again {FIRST_REQUEST_S} s after a restart" in readme
    assert f"{CONFIG.event_service.ask_again_s:g} s, until each Box has answered" in readme
    assert f"or {CONFIG.event_service.answer_timeout_s:g} s are over" in readme
    assert f"({CONFIG.nominal_v:g} V, {CONFIG.nominal_hz:g} Hz: for Boxes of the original" in readme
    assert f"the last {makai.see_again_s / 60:g} minutes of stored measurements again" in readme
    assert f"longer than `max_event_s` ({ThresholdConfig().max_event_s:g} s)" in readme


def test_the_readme_of_mauka_has_the_figures_of_the_code() -> None:
    readme, installed = text_of(ROOM / "mauka" / "README.md"), CONFIG.mauka.plugins
    assert POLL_S == 0.5 and "the store is read twice a second" in readme
    longest = f"{LONGEST_FAILED_S:g} s ({LONGEST_RETRY_S:g} s where the store fails)"
    assert f"after {FIRST_RETRY_S:g}, {2 * FIRST_RETRY_S:g}, … {longest}" in readme
    assert f"waited for, {UNFINISHED_S:g} s" in readme
    ms, s = ONE_DISTURBANCE_NS // 10**6, 10**9
    assert f"at most {ms} ms and both uncertainties apart, {LONGEST_NS // s} s at most" in readme
    assert f"within {COMPOUND_NS // s} s at one Box" in readme and f"within {FOLLOWS_NS // s} s" in readme
    assert f"fails in its first {TRIAL_S / 60:g} minutes is taken back" in readme
    rests = [f"{pause:g}" for pause in PAUSES_S]
    assert f"rests for {', '.join(rests[1:4])}, … {rests[-1]} s, and at least {PATIENCE:g} times" in readme
    assert f"| `memory_mb`, `call_s` | {installed.memory_mb}, {installed.call_s:g} |" in readme


def test_the_readmes_of_store_and_view_have_the_figures_of_the_code() -> None:
    store, view = text_of(ROOM / "store" / "README.md"), text_of(ROOM / "view" / "README.md")
    assert f"From {SEAL_ROWS:,} rows (or {SEAL_ROWS_PER_BOX} per Box) on" in store
    assert f"the same beat for {LEASE_S:g} s on its own monotonic clock" in store
    assert f"after every {HEARTBEAT_S:g} s of silence" in view
    assert f"({MEASUREMENTS_WAITING} measurements, {INCIDENTS_WAITING} incidents)" in view
    assert f"{STREAMS} streams at once" in view
    assert CONFIG.view.live_streams == STREAMS
