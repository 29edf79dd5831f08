"""`opq-tools status`: faults come first, and an unused folder is reported as such."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from command_in_process import run_in_process
from free_ports import free_offset

from opq_cloud.store import BoxRecord, open_store
from opq_proto.kit.system_record import MeantService, note_meant
from opq_proto.kit.system_verdict import ServiceState, ServiceVerdict, SystemVerdict
from opq_proto.messages import Interval, Measurement
from opq_tools.system import status as status_module
from opq_tools.system.doctor.sites import check_sites
from opq_tools.system.status import BOXES_SHOWN, LOCKED, is_named, page_address, status_lines

NOW_S = 1_764_000_000.0


def box(box_id: str, age_s: float | None, unplugged: bool = False) -> dict[str, object]:
    seen_ms = None if age_s is None else round((NOW_S - age_s) * 1000)
    return {"box_id": box_id, "name": f"Box {box_id}", "unplugged": unplugged, "last_seen_ms": seen_ms}


def test_ctrl_c_ends_the_watch_quietly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while the first screen is gathered, and whatever was not well."""

    def interrupted(folder: Path, offset: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(status_module, "system_status", interrupted)
    done = run_in_process("status", "--watch", "--data-dir", str(tmp_path))
    assert done.returncode == 0 and "Aborted" not in done.stdout + done.stderr


def test_faults_come_first_and_lists_are_cut() -> None:
    mill = {
        "name": "mill",
        "box_ids": ["1", "2", "98"],
        "start_ms": 1_763_999_400_000,
        "u2_ratio": 0.0084,
        "wiring": None,
    }
    hall = {"name": "hall", "box_ids": ["4"], "start_ms": None, "u2_ratio": None, "wiring": None}
    boxes = [
        *(box(str(k), 1.0) for k in range(1, 40)),
        box("98", 3600.0),
        box("99", None),
        box("97", 9e5, True),
    ]
    lines = status_lines(
        {
            "data_dir": "D",
            "port_offset": 0,
            "page": "http://127.0.0.1:8888",
            "runs": True,
            "ok": False,
            "not_ok": [{"name": "Box 98", "info": "last heard 3600 s ago", "helps": "look at it"}],
            "notes": ["Box 3 is retired here, and its gateway still has it"],
            "services": [{"name": "cloud", "meant": True, "state": "runs", "url": "http://127.0.0.1:8911/"}],
            "others": [],
            "gateway": None,
            "boxes": boxes,
            "sites": [mill, hall],
            "disk": {"free_bytes": 5 * 10**9, "bytes": 10**11},
            "incidents": [{"id": 7, "start_ms": round(NOW_S * 1000), "what": "Sag to 85.2 % at Box 1"}],
        },
        NOW_S,
    )
    text = "\n".join(lines)
    assert text.startswith(
        "system      D: not well\nnot well    Box 98: last heard 3600 s ago\n            look at it\n"
        "note        Box 3 is retired here, and its gateway still has it\nruns        cloud\n"
    )
    first = lines.index("Boxes       42, 39 of them measure") + 1
    assert [line.split()[0] for line in lines[first : first + 3]] == ["98", "99", "97"]
    assert "silent since" in lines[first] and "never heard" in text and "unplugged" in text
    assert f"and {42 - BOXES_SHOWN} more: opq-tools boxes show" in text
    at = lines.index("sites       2")
    words = [" ".join(line.split()) for line in lines[at + 1 : at + 3]]
    since = "2025-11-24 15:50:00 UTC"
    assert words == [
        f"mill 2 of 3 measure, u2 0.84 % in the ten minutes from {since}",
        "hall 1 of 1 measure, u2 not known",
    ]
    assert "     7  2025-11-24 16:00:00 UTC  Sag to 85.2 % at Box 1" in lines
    assert lines[-1] == "disk        5.0 of 100 GB are free"


def test_the_page_is_where_view_runs(tmp_path: Path) -> None:
    """Within the cloud, beside one that leaves it out, or nowhere."""
    whole = MeantService("cloud", "http://127.0.0.1:8911/")
    note_meant(tmp_path, [whole])
    assert page_address(tmp_path, 0, ["gateway"]) is None
    assert page_address(tmp_path, 100, ["cloud"]) == "http://127.0.0.1:8988"
    note_meant(tmp_path, [replace(whole, left_out=("view",))])
    assert page_address(tmp_path, 0, ["cloud"]) is None
    note_meant(tmp_path, [MeantService("view", "http://127.0.0.1:7000/health")])
    assert page_address(tmp_path, 0, ["cloud", "view"]) == "http://127.0.0.1:7000"


def test_a_gateway_alone_has_no_store_to_list() -> None:
    lines = status_lines(
        {
            "data_dir": "D",
            "port_offset": 0,
            "page": None,
            "runs": True,
            "ok": True,
            "not_ok": [],
            "notes": [],
            "services": [
                {"name": "gateway", "meant": True, "state": "runs", "url": "http://127.0.0.1:8913/"}
            ],
            "others": [],
            "gateway": None,
            "boxes": [],
            "sites": [],
            "incidents": [],
            "disk": None,
        },
        NOW_S,
    )
    assert lines == ["system      D: well", "runs        gateway"]


def test_unused_folders_and_broken_stores_are_reported(tmp_path: Path) -> None:
    where = ("--data-dir", str(tmp_path), "--port-offset", str(free_offset()))
    done = run_in_process("status", *where)
    assert done.returncode == 1, "nothing is meant to run here"
    empty = f"system      {tmp_path}: nothing is meant to run here\nBoxes       none in the store\n"
    assert done.stdout.startswith(empty)
    (tmp_path / "opq.db").write_bytes(b"no database" * 1000)
    found = json.loads(run_in_process("status", "--json", *where).stdout)
    assert "opq.db" in found["store_problem"] and not found["runs"]


def test_sites_are_those_that_boxes_state(tmp_path: Path) -> None:
    where = ("--data-dir", str(tmp_path), "--port-offset", str(free_offset()))
    store = open_store(None, tmp_path)
    store.put_box(BoxRecord("7", "alone"))
    assert "\nsites " not in run_in_process("status", *where).stdout
    start_ns, end_ns = 1_763_999_400 * 10**9, 1_764_000_000 * 10**9
    rows = []
    for number, box_id in enumerate(("1", "2", "3")):
        store.put_box(BoxRecord(box_id, "", site="mill", phase=f"L{box_id}"))
        own: dict[str, float | tuple[float, ...]] = {
            "f_hz": 60.0,
            "angles_deg": (10.0 - 120 * number,) * 10,
            "phasors_v": (120.0 if number else 114.0,) * 10,
        }
        ten = Interval(600_000, False, 1.0, own)
        rows.append(Measurement(box_id, 1, {}, start_ns, end_ns, 1000, sequence=number, interval=ten))
    store.intervals.append(rows)
    store.close()
    (site,) = json.loads(run_in_process("status", "--json", *where).stdout)["sites"]
    assert (site["name"], site["box_ids"], site["start_ms"]) == ("mill", ["1", "2", "3"], start_ns // 10**6)
    assert site["wiring"] is None
    assert site["u2_ratio"] == pytest.approx(2 / 118, rel=1e-3)
    text = run_in_process("status", *where).stdout
    assert "mill" in text and "0 of 3 measure, u2 1.69 % in the ten minutes from 2025-11-24" in text

    with closing(open_store(None, tmp_path)) as store:
        for box_id, phase in (("2", "L3"), ("3", "L2")):
            store.put_box(BoxRecord(box_id, "", phase=phase), 1)  # a correction for the past
    (site,) = json.loads(run_in_process("status", "--json", *where).stdout)["sites"]
    wrong = "L2 and L3 (Box 3 and Box 2) are exchanged, or two others of the three: the phases turn"
    assert site["wiring"].startswith(wrong) and site["u2_ratio"] is None
    assert f"measure, u2 not judged: {wrong}" in run_in_process("status", *where).stdout
    (found,) = check_sites(tmp_path)
    assert found.text.startswith(f"mill: {wrong}") and "boxes set ID --phase" in found.fix
    with closing(open_store(None, tmp_path)) as store:
        for box_id in ("2", "3"):
            store.put_box(BoxRecord(box_id, "", phase=f"L{box_id}"), 1)
    assert [*check_sites(tmp_path)] == []

    with closing(sqlite3.connect(tmp_path / "opq.db", isolation_level=None)) as damaged:
        damaged.execute("UPDATE intervals_new SET body = x'ff'")
    found = json.loads(run_in_process("status", "--json", *where).stdout)
    assert "store_problem" not in found
    assert (found["sites"][0]["name"], found["sites"][0]["u2_ratio"]) == ("mill", None)
    unread = "documents that cannot be read: 3 of opq_intervals_new; opq-tools store check names each"
    assert found["damaged"] == unread
    with closing(open_store(None, tmp_path)) as packed:
        while packed.intervals.settle(start_ns // 10**6 + 10 * 86_400_000):
            pass
    text = run_in_process("status", *where).stdout
    assert "damaged     3 rows or blocks of intervals are damaged and set aside, the newest is row " in text


def test_a_locked_store_names_its_writer(tmp_path: Path) -> None:
    where = ("--data-dir", str(tmp_path), "--port-offset", str(free_offset()))
    open_store(None, tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "opq.db", isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        found = json.loads(run_in_process("status", "--json", *where).stdout)
        text = run_in_process("status", *where).stdout
    assert [each["name"] for each in found["not_ok"]] == ["store"]
    assert LOCKED in found["store_problem"] and "Boxes       not known: " in text
    assert "incidents   not known" in text
    writer = ServiceVerdict("triggering-service", "http://127.0.0.1:8080/", ServiceState.RUNS)
    assert is_named(found["store_problem"], SystemVerdict((writer,), ())), "or it is soon over"
    gateway = ServiceVerdict("gateway", "http://127.0.0.1:8913/", ServiceState.RUNS)
    assert not is_named(found["store_problem"], SystemVerdict((gateway,), ()))
    assert not is_named("it is damaged", SystemVerdict((writer,), ()))
