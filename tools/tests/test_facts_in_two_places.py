"""Facts in two places are the same: a page and the code, or two rooms that do not import each other.

A page's sentence is written with the constants in it, so that a changed limit without its page fails here.
Copies in C, in units and in READMEs are held by hil's test_one_fact.py and the cloud's test_cloud_facts.py.
"""

from pathlib import Path

import pytest

from opq_cloud import store
from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.makai import event_service
from opq_cloud.makai.events import half_cycle_requests as half_cycles
from opq_cloud.makai.judging import hang_watch, trigger_plugins
from opq_cloud.makai.openings import event_joins
from opq_cloud.mauka.joining import onset_rule
from opq_cloud.notifications import incident_watch, outbox, rows_endpoint, webhook_channel
from opq_cloud.store import service_lock
from opq_cloud.view import service as view_service
from opq_cloud.view.api import answers, rest_app
from opq_cloud.view.pages.account import account_pages
from opq_cloud.view.pages.boxes import waveform_requests
from opq_cloud.view.pages.shown import box_client
from opq_cloud.view.web import forms, passwords, sign_in
from opq_gateway.commands import command_handler
from opq_gateway.config import MAX_CYCLES, MAX_ID, MIN_CYCLES, BoxSection
from opq_gateway.config import Config as GatewayConfig
from opq_gateway.local import measured
from opq_gateway.measuring import edge_detectors
from opq_gateway.mqtt import board
from opq_gateway.phasors import alignment, server
from opq_gateway.serial_side import clock, gps_comparison
from opq_hil.backends import emulated
from opq_plugins.host import guard, report
from opq_plugins.host.worker import remote, worker_process
from opq_plugins.package import install, manifest, properties
from opq_plugins.policy import UIDS, Policy
from opq_plugins.sdk import nouns
from opq_plugins.worker import wire
from opq_rules.api import config as rules_config
from opq_rules.api import guard as rules_guard
from opq_rules.api import request_batch, sets
from opq_rules.api import server as rules_server
from opq_rules.sinks import notify, request_waveform
from opq_rules.sources import httppush
from opq_sim.faults import evidence
from opq_sim.score import records
from opq_tools.boxes.box import waveform
from opq_tools.client import calls
from opq_tools.keys import keygen
from opq_tools.up import plan

DOCS = Path(__file__).resolve().parents[2] / "docs"
POLICY, LIMITS = Policy(), Policy().limits
CLOUD, GATEWAY = CloudConfig(), GatewayConfig(box=(BoxSection(id="1", port="/dev/ttyUSB0"),))
ASKING, EVENTS = CLOUD.triggering_service.asking, CLOUD.event_service
MIB, KIB, MB, S = 1 << 20, 1 << 10, 10**6, 10**9
PAUSES = [f"{pause:g}" for pause in guard.PAUSES_S]
SAID: dict[str, list[str]] = {
    "plugins.md": [
        f"fails in its first {POLICY.trial_s:g} s",
        f"or fails in `begin` ({remote.BEGIN_S:g} s)",
        f"a trigger has {remote.DECIDE_S:g} s for a Measurement",
        f"begins again after a pause of {', '.join(PAUSES[:4])} ... {PAUSES[-1]} s",
        f"it has {trigger_plugins.SHARE:.0%} of the service's time while others wait, and "
        f"{trigger_plugins.MAX_S:g} s at once".replace("%", " %"),
        f"at most {nouns.MAX_REQUESTS} requests, with {nouns.MAX_ASKED} Boxes in each",
        f"{LIMITS.lua_memory_bytes // MIB} MiB and {LIMITS.lua_instructions // 10**6} million instructions",
        f"has another user ({UIDS[0]} to {UIDS[1]}, by its name)",
        f"but {LIMITS.file_bytes // MIB} MiB a file",
        f"is started again, after {', '.join(PAUSES)} s",
        f"hangs in a call ({LIMITS.call_s:g} s), or sends nothing for {worker_process.SILENCE_S:g} s",
        f"{LIMITS.processes} processes are the limit",
        f"`MemoryError` ({LIMITS.memory_bytes // MIB} MiB)",
        f"at most {worker_process.OUTPUT_BYTES_PER_S // MIB} MiB/s are read, "
        f"{worker_process.TAIL_BYTES // KIB} KiB kept",
        f"or more than {wire.MAX_OF_WORKER_BYTES // MIB} MiB at once",
        f"{worker_process.REPORTS_PER_S:g} lines a second are logged, "
        f"after {worker_process.AT_ONCE:,.0f} at once",
        f"{worker_process.MAX_STATE_BYTES // MIB} MiB are the limit of a source, sink or function",
        f"at least every {report.RENEWED_S:g} s",
        f"no Mauka has run for {report.STALE_S:g} s",
        f"more than {POLICY.max_zip_bytes // MIB} MiB, {POLICY.max_unpacked_bytes // MIB} MiB unpacked, "
        f"{POLICY.max_files:,} files",
        f"{properties.MAX_BYTES // KIB} KiB in a file of properties, "
        f"{manifest.MAX_SYMBOLS} symbols, {POLICY.max_redirects} redirects or {POLICY.download_s:g} s; "
        f"a {('fourth', 'fifth', 'sixth')[install.MAX_AT_ONCE - 3]} installation at once",
        f"for {', '.join(PAUSES[1:2])} s, then {', '.join(PAUSES[2:4])}, ... {PAUSES[-1]} s",
        f"The last {('two', 'three', 'four')[POLICY.keep_versions - 2]} versions stay on disk",
    ],
    "makai.md": [
        f"{event_service.MAX_REQUESTED} requested events in progress",
        f"All Boxes together have {ASKING.bytes_per_min // MB} MB, "
        f"one Box {ASKING.bytes_per_min_of_box // MB} MB, "
        f"and the events that one Box causes {ASKING.bytes_per_min_by_box // MB} MB",
        f"These are {ASKING.most_boxes} Boxes at most",
        f"up to {ASKING.most_boxes_of_event} Boxes, {event_joins.MAX_JOINING_OF_FEEDER} more of one feeder",
        f"{ASKING.transient_ms / 1000:g} s around it; another one",
        f"{half_cycles.MEASURED_S:g} s after it the event service asks",
        "again after {:g}, {:g} and {:g} s without an answer".format(*half_cycles.PAUSES_S),
        f"`_not_asked_` ({half_cycles.MAX_WAITING:,} wait at most)",
        f"which it renews every {service_lock.RENEWED_S:g} s",
        f"until nobody has renewed the document for {service_lock.FREE_S:g} s",
        f"does not return is detected after {hang_watch.POLL_S * hang_watch.POLLS:g} s",
        f"at most {EVENTS.noted_per_min} a minute of each named Box",
    ],
    "api.md": [
        f"{answers.PER_S:g} requests a second ({answers.BURST:g} at once) and one export in "
        f"{1 / answers.EXPORT_PER_S:g} s ({answers.EXPORT_BURST:g} at once)",
        f"for {account_pages.TOKEN_DAYS[0]} to {account_pages.TOKEN_DAYS[-1]} days",
        f"{CLOUD.view.live_streams} places in all",
        f"at most {waveform_requests.AHEAD_S:g} s ahead and {waveform_requests.BACK_S / 86_400:g} days back",
        f"`seconds` is {waveform_requests.SHORTEST_S:g} to {waveform_requests.LONGEST_S:g}",
        f"one request in {1 / waveform_requests.ACCOUNT_PER_S:g} s "
        f"({waveform_requests.ACCOUNT_BURST} at once), a Box gets one in "
        f"{1 / waveform_requests.BOX_PER_S:g} s ({waveform_requests.BOX_BURST} at once), "
        f"and {waveform_requests.MAX_OPEN} may be in progress",
    ],
    "notifications.md": [
        f"or {incident_watch.HELD_S:g} s after the first was",
        f"Answer 2xx within {webhook_channel.WHOLE_S:g} s",
        f"is sent again after {outbox.WAITS_S[0]:g} s, {outbox.WAITS_S[1]:g} s, … "
        f"{outbox.WAITS_S[-1] / 3600:g} h for a day",
        f"{rows_endpoint.BURST:g} requests at once are accepted, then one a second",
    ],
    "security.md": [
        f"{passwords.MIN_CHARACTERS} characters or more",
        f"{forms.MAX_FORM_BYTES // KIB} kB for a form",
        f"{view_service.CONNECTIONS_BESIDE_STREAMS:,} in addition to the live feeds",
        f"{sign_in.MAX_SESSIONS} per account",
    ],
    "gateway.md": [
        f"`ring_hours` ({GATEWAY.ring_hours:g}), `measurement_cycles` ({GATEWAY.measurement_cycles})",
        f"at most `ring.sync_s` ({GATEWAY.ring.sync_s:g} s) of samples",
        f"at most {measured.MAX_ROWS:,} rows",
        f"more than {clock.LATE_NS // MB} ms late",
        f"{clock.MAX_LATE_S:g} s at most",
        f"Without any such Box for {gps_comparison.STALE_S:g} s, the last rate is held, source `holdover`, "
        f"{clock.HOLDOVER_DRIFT * 1e6:g} ppm",
        f"One of each class is reported per {edge_detectors.EVERY_S:g} s",
        f"then one in {edge_detectors.ANALYSIS_S:g} s",
        f"A Box more than {alignment.AXIS_NS // S} s beside the one",
        f"slowly ({server.MAX_WAITING_BYTES // KIB} kB behind)",
        f"up to {board.MAX_DISTURBANCES} ",
        f"an end up to {command_handler.WAIT_S:g} s ahead",
        f"at most `measuring.half_cycles_mb` ({GATEWAY.measuring.half_cycles_mb}) per Box",
        f"`unacknowledged_s` ({GATEWAY.uplink.unacknowledged_s:g} s)",
    ],
    "rules.md": [
        f"413 above {rules_guard.MAX_JSON_BYTES // MIB} MiB (a form: `most_body_mb`)",
        f"most_body_mb ({rules_config.Config().most_body_mb})",
        f"a set: at most {sets.MAX_FILE_BYTES // MIB} MiB",
        f"at most {rules_server.MAX_IN_BATCH:,} requests",
        f"beyond {request_batch.MAX_ANSWER_CHARACTERS // MIB} MiB of answers",
        f"at most {httppush.MAX_CONNECTIONS} connections at a time",
    ],
}


@pytest.mark.parametrize("page", SAID)
def test_a_page_has_the_figures_of_the_code(page: str) -> None:
    cut = sorted(DOCS.glob(f"{Path(page).stem}*.md"))  # the page, and those that were cut from it
    text = " ".join(" ".join(part.read_text(encoding="utf-8") for part in cut).split())
    assert [sentence for sentence in SAID[page] if sentence not in text] == []


ROOMS: dict[str, tuple[object, ...]] = {
    "the store's file": (store.FILE_NAME, evidence.FILE_NAME),
    "what is part of a disturbance": (onset_rule.COMPOUND_NS, records.COMPOUND_NS),
    "what follows a disturbance": (onset_rule.FOLLOWS_NS, records.FOLLOWS_NS),
    "the longest distance of onsets": (onset_rule.LONGEST_NS, records.LONGEST_NS),
    "cycles of a Measurement": (
        (MIN_CYCLES, MAX_CYCLES),
        (box_client.MIN_CYCLES, box_client.MAX_CYCLES),
    ),
    "how long a request may lie ahead": (
        command_handler.WAIT_S,
        waveform_requests.AHEAD_S,
        waveform.LONGEST_WAIT_S,
    ),
    "the paths of REST": (rest_app.PREFIX, calls.PREFIX),
    "a row's text in a notification": (rows_endpoint.TEXT_CHARACTERS, notify.TEXT_CHARACTERS),
    "emulators": (emulated.EMULATORS, plan.EMULATORS),
    "ids of Boxes": (MAX_ID, request_waveform.MAX_BOX_ID, keygen.MAX_BOX_ID),
}


@pytest.mark.parametrize("fact", ROOMS)
def test_rooms_that_do_not_import_each_other_have_the_same_fact(fact: str) -> None:
    first, *others = ROOMS[fact]
    assert others == [first] * len(others)
