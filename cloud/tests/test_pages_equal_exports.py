"""What pages say of an index, a verdict or an incident equals the exported rows, recounted by this test.

Slow: a made network of 12 Boxes and 36 hours. Always run: the counts of test_report_supply.py
and test_report_names.py of cloud/tests/reports.
"""

import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from open_view import open_services

from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.store import BoxRecord, CloudStore, open_store
from opq_cloud.view.app import create_app
from opq_sim.fleet.virtual_boxes import VirtualBoxes
from opq_tools.sim.history.history_boxes import grid_of
from opq_tools.sim.history.history_run import LATE_S
from opq_tools.sim.history.progress_file import read_progress
from opq_tools.sim.history.virtual_cloud import VirtualCloud

DAYS, BESIDE_S = 1.5, 120
"""The length of the history, and of what has Measurements before and after each fault."""
SHARES = (0.2, 0.4, 0.6, 0.8)
"""When the faults begin."""
END, WEEK, NOW_NS = "2026-11-19T12:00", "2026-W47", 1_795_500_000 * 10**9
BOXES = [f"{number}" for number in range(1, 13)]
S = 10**9


def scenario() -> str:
    """Four sites of three phases on two feeders; faults that some see as dips and others as interruptions."""
    sites = [("mill", "one"), ("shop", "two"), ("yard", "one"), ("farm", "two")]
    boxes = [
        {"id": str(3 * n + k + 1), "at": site, "phase": "abc"[k]}
        for n, (site, _) in enumerate(sites)
        for k in range(3)
    ]
    lines = ['network = { supply = { bus = "mv", short_circuit_mva = 120.0 }, bus = [']
    lines[0] += ", ".join(
        ['{ id = "mv", nominal_kv = 20.0 }', *(f'{{ id = "{s}", nominal_kv = 0.4 }}' for s, _ in sites)]
    )
    lines[0] += (
        '], feeder = [{ id = "one", from_bus = "mv", km = 6.0 }, { id = "two", from_bus = "mv", km = 6.0 }]'
    )
    lines[0] += (
        ", transformer = ["
        + ", ".join(
            f'{{ id = "t{n}", from_bus = "{feeder}/{n + 1}km", to_bus = "{site}", rating_kva = 250.0 }}'
            for n, (site, feeder) in enumerate(sites)
        )
        + "] }"
    )
    lines.append(
        "box = ["
        + ", ".join(f'{{ id = "{b["id"]}", at = "{b["at"]}", phase = "{b["phase"]}" }}' for b in boxes)
        + "]"
    )
    causes = [
        ("one/3km", "LLL", 'clear_ms = 150.0, breaker = "one", permanent = true, open_s = 20.0'),
        ("shop", "LL", "resistance_ohm = 0.05, clear_ms = 100.0"),
        ("two/5km", "LG", "resistance_ohm = 2.0, clear_ms = 400.0"),
        ("farm", "LLL", "resistance_ohm = 0.0025, clear_ms = 190.0"),
    ]
    for (at, kind, values), share in zip(causes, SHARES, strict=True):
        lines += [
            "[[cause]]",
            'kind = "fault"',
            f'at = "{at}"',
            f"at_s = {share * DAYS * 86_400:.1f}",
            f'values = {{ type = "{kind}", {values} }}',
        ]
    return 'title = "12 Boxes"\n' + "\n".join(lines) + "\n"


def said(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "opq_tools.cli", *words], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("network")
    (made / "network.toml").write_text(scenario())
    data = str(made / "data")
    said(
        "sim",
        "history",
        "--scenario",
        str(made / "network.toml"),
        "--days",
        str(DAYS),
        "--end",
        END,
        "--into",
        data,
        "--intervals",
        "alone",
        "--json",
    )
    with closing(open_store(None, made / "data")) as opened:
        put_incidents(made, opened)
        for number, box_id in enumerate(BOXES):
            site = ("mill", "shop", "yard", "farm")[number // 3]
            opened.put_box(BoxRecord(box_id, "", site=site, phase=f"L{number % 3 + 1}"))
    return made


def put_incidents(made: Path, opened: CloudStore) -> None:
    """Makai and Mauka for some minutes around each fault: for all 36 hours they take ten minutes."""
    path, progress = made / "network.toml", read_progress(made / "data")
    assert progress is not None
    for share in SHARES:
        first_s, last_s = (share * DAYS * 86_400 + beside_s for beside_s in (-BESIDE_S, BESIDE_S))
        begins_s = dict.fromkeys(BOXES, first_s)
        boxes = VirtualBoxes(grid_of(path, progress), progress.start_ns, progress.seed, begins_s)
        cloud = VirtualCloud(CloudConfig(), opened, boxes.waveform)
        for now_s in np.arange(first_s, last_s) + 1.0:
            cloud.accept(*boxes.measured(now_s), now_s)
            cloud.answer_events(progress.start_ns + round((now_s - LATE_S) * 1e9))
        cloud.store_accepted()
        cloud.finish(last_s)


@pytest.fixture(scope="module")
def store(folder: Path) -> Iterator[CloudStore]:
    opened = open_store(None, folder / "data")
    yield opened
    opened.close()


def rows_of(folder: Path, kind: str, *words: str) -> list[dict[str, Any]]:
    found = said("export", kind, "--format", "jsonl", "--data-dir", str(folder / "data"), *words)
    return [json.loads(line) for line in found.splitlines() if line]


def four(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def recounted(events: list[dict[str, Any]]) -> dict[str, int]:
    """SARFI-90, SARFI-110 and interruptions of one Box from its exported rows; each phase of a site alone."""
    count = {"90": 0, "110": 0}
    for above in (False, True):
        worst: list[tuple[int, float, float]] = []
        for each in sorted(events, key=lambda row: row["start_ns"]):
            percent, seconds = each["residual_v"] / 2.3, (each["end_ns"] - each["start_ns"]) / S
            if (each["class"] == "swell") != above:
                continue
            if worst and each["start_ns"] - worst[-1][0] < 60 * S:
                if abs(percent - 100) > abs(worst[-1][1] - 100):
                    worst[-1] = worst[-1][0], percent, seconds
            else:
                worst.append((each["start_ns"], percent, seconds))
        for _, percent, seconds in worst:
            if seconds <= 60:
                count["110"] += above and percent > 110
                count["90"] += not above and percent < 90
    return count


class Comparison:
    """What differs, and how much was compared."""

    def __init__(self) -> None:
        self.differ: list[str] = []
        self.compared = 0

    def __call__(self, what: str, found: object, wanted: object) -> None:
        self.compared += 1
        if found != wanted:
            self.differ.append(f"{what}: {found}, the exports have {wanted}")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_pages_say_what_the_exports_hold(folder: Path, store: CloudStore) -> None:
    events = rows_of(folder, "disturbances")
    assert len(events) >= 12 and {each["class"] for each in events} >= {"dip", "interruption"}
    compare = Comparison()
    with TestClient(create_app(open_services(store, now_ns=lambda: NOW_NS))) as client:
        every = rows_of(folder, "intervals", "--length", "10min")
        tens = {box_id: [each for each in every if each["box_id"] == box_id] for box_id in BOXES}
        compare_indices(client, events, tens, compare)
        compare_incidents(client, events, compare)
        compare_sites(client, events, compare)
        compare_past(client, tens, compare)
    assert compare.compared > 12 * 24 and not compare.differ, "\n".join(compare.differ)


def compare_indices(
    client: TestClient,
    events: list[dict[str, Any]],
    rows: dict[str, list[dict[str, Any]]],
    compare: Comparison,
) -> None:
    indices = client.get(f"/api/v1/reports/indices?span={WEEK}&zone=UTC").json()
    page = client.get(f"/report?span={WEEK}&zone=UTC").text

    for box in indices["boxes"]:
        box_id = box["box_id"]
        own = [each for each in events if each["box_id"] == box_id]
        tens = rows[box_id]
        sarfi = recounted(own)
        for name, wanted in sarfi.items():
            compare(f"Box {box_id} SARFI-{name}", box["sarfi"][name], wanted)
        covered = 100 * sum(row["coverage"] for row in tens) / 1008
        compare(f"Box {box_id} measured", round(box["complete_percent"], 3), round(covered, 3))
        flagged = 100 * sum(row["flagged"] for row in tens) / 1008
        compare(f"Box {box_id} flagged", round(box["flagged_percent"], 3), round(flagged, 3))
        row = re.search(rf'place=box%3A{box_id}&amp;zone=UTC".*?</tr>', page, re.S)
        assert row is not None
        shown = re.findall(r'data-label="([^"]+)">([^<]*)<', row[0])
        compare(f"page, Box {box_id} SARFI-90", dict(shown)["SARFI-90"], str(sarfi["90"]))
        report = client.get(f"/api/v1/reports/week?place=box:{box_id}&week={WEEK}&zone=UTC").json()
        compare(f"Box {box_id} events", len(report["events"]), len(own))
        compare(f"Box {box_id} verdict", report["verdict"], "not_assessed")  # 36 of 168 hours
        clean = [each for each in tens if not each["flagged"]]
        lowest = min((each["f_min_hz"] for each in clean), default=None)
        compare(f"Box {box_id} nadir", four(report["frequency"]["nadir_hz"]), four(lowest))
        volts = [each["rms_v"] for each in clean]
        judged = next(each for each in report["rows"] if each["quantity"] == "voltage")
        outside = sum(not 207.0 <= value <= 253.0 for value in volts)
        compare(f"Box {box_id} outside", (judged["count"], judged["outside"]), (len(volts), outside))
        html = client.get(f"/report/week?place=box:{box_id}&week={WEEK}&zone=UTC").text
        compare(f"page, Box {box_id} events", f'<dd>{len(own)}</dd><dd class="sub">dips' in html, True)
        compare(f"page, Box {box_id} verdict", 'tag-not_assessed">not assessed' in html, True)


NAMES = {"sag": "dip", "swell": "swell", "interruption": "interruption"}
CYCLE_NS = 20_000_000


def compare_incidents(client: TestClient, events: list[dict[str, Any]], compare: Comparison) -> None:
    """Findings, titles, pages and lists of one place, by depth, length and class of each row."""
    items = client.get("/api/v1/incidents?limit=200").json()["items"]
    left = events
    for item in items:
        path = f"incidents/{item['id']}"
        found = client.get(f"/api/v1/{path}/findings").json()["items"]
        found = [each for each in found if level_of(each) in NAMES]
        own = [each for each in left if any(is_of(each, finding) for finding in found)]
        left = [each for each in left if each not in own]
        compare(f"{path}: events", len(found), len(own))
        if not own:
            continue
        worst = min(own, key=lambda each: each["residual_percent"])
        name = "Interruption" if worst["class"] == "interruption" else "Sag"
        if item["class"].startswith("phase_jump+"):
            name = "Phase jump and sag"
        title = f"{name} to {worst['residual_percent']:.1f}\u202f% at Box"
        compare(f"{path}: title", item["summary"][: len(title)], title)
        compare(f"{path}: page", title[len(name) + 4 : -7] in client.get(f"/{path}").text, True)
        compare(f"{path}: Boxes", {each["box_id"] for each in own} <= {*item["box_ids"]}, True)
    compare("events without an incident", [(each["box_id"], each["start_ns"]) for each in left], [])
    for box_id in BOXES:
        for kind, name in NAMES.items():
            own = [each for each in events if (each["box_id"], each["class"]) == (box_id, name)]
            page = client.get(f"/incidents?box={box_id}&class={kind}").text
            compare(f"Box {box_id}, list of {kind}", page.count("<tr data-incident="), len(own))


def level_of(finding: dict[str, Any]) -> str:
    """The class by Urms(1/2): `sag` of `phase_jump+sag`, a dip that a phase jump makes."""
    return str(finding["class"].removeprefix("phase_jump+"))


def is_of(row: dict[str, Any], finding: dict[str, Any]) -> bool:
    """Class A allows 0.2 % of the nominal voltage and a cycle of the duration (IEC 61000-4-30, 5.4)."""
    length_ns = row["end_ns"] - row["start_ns"]
    return bool(
        row["box_id"] == finding["box_id"]
        and row["class"] == NAMES[level_of(finding)]
        and abs(row["start_ns"] - finding["start_ns"]) <= CYCLE_NS
        and abs(length_ns - (finding["end_ns"] - finding["start_ns"])) <= CYCLE_NS
        and abs(row["residual_percent"] - finding["residual_percent"]) <= 0.2
    )


def compare_sites(client: TestClient, events: list[dict[str, Any]], compare: Comparison) -> None:
    """Events of three phases together: IEC 61000-4-30, 5.4.3 and 5.5.3."""
    for site in ("mill", "shop", "yard", "farm"):
        own = sorted((each for each in events if each["site"] == site), key=lambda each: each["start_ns"])
        groups: list[list[dict[str, Any]]] = []
        for each in own:
            if groups and each["start_ns"] <= max(one["end_ns"] for one in groups[-1]):
                groups[-1].append(each)
            else:
                groups.append([each])
        wanted = [
            (
                "interruption" if sum(one["class"] == "interruption" for one in group) == 3 else "dip",
                round(min(one["residual_percent"] for one in group), 2),
                sorted({one["box_id"] for one in group}, key=int),
            )
            for group in reversed(groups)
        ]
        found = client.get(f"/api/v1/sites/{site}").json()["events"]
        said = [
            (each["class"], round(each["residual_percent"], 2), sorted(each["box_ids"], key=int))
            for each in found
        ]
        compare(f"site {site}", said, wanted)
        page = client.get(f"/sites/{site}").text
        for _, percent, _ in wanted:
            compare(f"page of site {site}", f'class="num">{percent:.1f}</td>' in page, True)


def compare_past(client: TestClient, rows: dict[str, list[dict[str, Any]]], compare: Comparison) -> None:
    """Each ten minutes of each Box, and the table of lowest, mean and highest."""
    address = "source=a&y=V&q=rms_v,f_hz,thd_percent,pst&from=2026-11-18&to=2026-11-19T12:00"
    for box_id in BOXES:
        page = client.get(f"/past?box={box_id}&{address}").text
        drawn = json.loads(page.partition('id="past-data">')[2].partition("</template>")[0])["charts"]
        line = drawn[0]["series"][0]
        tens = rows[box_id]
        compare(f"/past of Box {box_id}", line["at"], [each["start_ns"] // 10**6 for each in tens])
        for name in ("mean", "low", "high"):
            worst = max(abs(one - each["rms_v"]) for one, each in zip(line[name], tens, strict=True))
            compare(f"/past of Box {box_id}, {name}", worst < 0.001, True)
        table = page.partition('<table class="compact past-figures">')[2].partition("</table>")[0]
        cells = [re.findall(r"<td[^>]*>([^<]*)</td>", each) for each in table.split("<tr>")]
        figures = [each for each in cells if len(each) == 9]
        clean = [each for each in tens if not each["flagged"]]
        for k, (low, middle, high, scale, digits, counted) in enumerate(
            (
                ("rms_v", "rms_v", "rms_v", 1.0, 2, clean),
                ("f_min_hz", "f_hz", "f_max_hz", 1.0, 3, clean),
                ("thd_ratio", "thd_ratio", "thd_ratio", 100.0, 2, clean),
                ("pst", "pst", "pst", 1.0, 3, clean),
            )
        ):
            mean = math.fsum(each[middle] * each["coverage"] for each in counted) / math.fsum(
                each["coverage"] for each in counted
            )
            wanted = min(each[low] for each in counted), mean, max(each[high] for each in counted)
            said = tuple(figures[k][place] for place in (0, 3, 6))
            compare(
                f"/past of Box {box_id}, {middle}",
                said,
                tuple(f"{scale * each:.{digits}f}" for each in wanted),
            )
