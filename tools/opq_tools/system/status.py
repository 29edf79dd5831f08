"""`opq-tools status`: what runs here, its Boxes and sites, the last incidents and the disk, on one screen."""

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from opq_cloud.core.service_conditions import CONDITIONS
from opq_cloud.operations.site_now import sites_together
from opq_cloud.store import CloudStore
from opq_cloud.view.web.words import headline
from opq_gateway.local.running_gateway import read_status, status_words
from opq_proto.errors import OpqError
from opq_proto.kit.ports import PORTS
from opq_proto.kit.shared_options import any_data_dir_option, json_option, port_offset_option
from opq_proto.kit.system_answers import read_system
from opq_proto.kit.system_place import find_system
from opq_proto.kit.system_record import CLOUD, GATEWAY, RULES, read_record
from opq_proto.kit.system_verdict import ServiceState, ServiceVerdict, SystemVerdict
from opq_tools.boxes.boxes_command import box_rows
from opq_tools.shared.opened_store import StoreMissingError, configured_system, passed_over, store_to_show
from opq_tools.system.doctor.stores import check_clock

INCIDENTS_SHOWN = 3
INCIDENTS_READ = 100
"""Incidents found last, of which the latest are shown: what is imported has higher numbers."""
DOCTOR = "opq-tools doctor says what helps"
LOCKED = "database is locked"
"""SQLite's words."""
BUSY_S = 1.0
"""A store that is locked for longer is not waited for."""
LOST_SHOWN = 3
"""Holes that are named, the last of each Box."""
SEEN = "opq-tools boxes lost lists all that was lost; with --seen these notes end"
BOXES_SHOWN = 20
SITES_SHOWN = 10
SILENT_S = CONDITIONS["silence"].limit


def system_status(folder: Path, offset: int) -> dict[str, Any]:
    """What a data folder and its services say; what does not answer is None."""
    record, disk = read_record(folder), _disk(folder)
    may_read = not record.problem or os.access(folder, os.R_OK | os.X_OK)
    with ThreadPoolExecutor(1) as pool:  # a service that hangs is waited for, and the store read meanwhile
        answered = pool.submit(read_system, record, offset)
        stored = _stored(folder) if may_read else _not_stored(f"{folder} cannot be read by this user")
        verdict = answered.result()
    not_ok = [{"name": each.thing, "info": each.info, "helps": each.helps} for each in verdict.troubles]
    if may_read and "store_problem" in stored and not is_named(stored["store_problem"], verdict):
        not_ok.append({"name": "store", "info": stored["store_problem"], "helps": DOCTOR})
    if may_read and not any(each["name"].startswith("clock") for each in not_ok):
        not_ok += [{"name": each.what, "info": each.text, "helps": each.fix} for each in check_clock(folder)]
    reported = any(each["name"].startswith("disk") for each in not_ok)
    if (
        disk is not None
        and not reported
        and 1 - disk["free_bytes"] / disk["bytes"] >= CONDITIONS["disk"].limit
    ):
        info = f"{disk['free_bytes'] / 1e9:.2f} GB are free at {folder}"
        not_ok.append({"name": "disk", "info": info, "helps": CONDITIONS["disk"].helps})
    runs = {each.name: each for each in verdict.services if each.state is ServiceState.RUNS}
    return {
        "data_dir": str(folder),
        "port_offset": offset,
        "page": page_address(folder, offset, runs),
        "runs": verdict.runs,
        "ok": verdict.ok and not not_ok,
        "services": [
            {"name": each.name, "meant": each.meant, "state": str(each.state), "url": each.url}
            for each in verdict.services
        ],
        "not_ok": not_ok,
        "notes": [
            *(each.info for each in verdict.notes),
            *(_passed_over(folder) if may_read else ()),
            *stored.pop("lost", ()),
        ],
        "others": [{"data_dir": other, "urls": list(urls)} for other, urls in verdict.others.items()],
        "gateway": _gateway(runs.get(GATEWAY)),
        **stored,
        "disk": disk,
    }


def _passed_over(folder: Path) -> list[str]:
    """A store whose history is not shown, with what helps."""
    found = passed_over(folder)
    return [] if found is None else [f"{found.text}: {found.fix}"]


def is_named(problem: str, verdict: SystemVerdict) -> bool:
    """Whether others name a problem of the store: a lock lasts for seconds, or its writer reports it."""
    writes = any(
        each.name in (CLOUD, "triggering-service") and each.state is ServiceState.RUNS
        for each in verdict.services
    )
    return (LOCKED in problem and writes) or problem in (each.info for each in verdict.troubles)


def page_address(folder: Path, offset: int, runs: Collection[str]) -> str | None:
    """The address of View, by itself or within the cloud; None: it does not run."""
    meant = {each.name: each for each in read_record(folder).services}
    if "view" not in runs and (CLOUD not in runs or (CLOUD in meant and "view" in meant[CLOUD].left_out)):
        return None
    _, config = configured_system(folder)
    if config is not None and config.view.address is not None:
        return config.view.address
    if "view" in meant:
        return meant["view"].health.removesuffix("/health")
    return f"http://127.0.0.1:{PORTS['view'] + offset}"


def _gateway(service: ServiceVerdict | None) -> dict[str, Any] | None:
    if service is None:
        return None
    try:
        return read_status(urlsplit(service.url).netloc, 0)
    except OpqError:
        return None


def _not_stored(problem: str) -> dict[str, Any]:
    return {"boxes": [], "sites": [], "incidents": [], "store_problem": problem}


def _stored(folder: Path) -> dict[str, Any]:
    try:
        with closing(store_to_show(folder, BUSY_S)) as store:
            rows = [row for row in box_rows(store) if row["retired_ms"] is None]
            lost = [f"Box {box.box_id}: {each.words}" for box in store.boxes() for each in box.lost]
            sites = _sites(store)
            found = store.incidents(limit=INCIDENTS_READ)  # find_incidents may index, which is a page's work
            incidents = sorted(found, key=lambda each: -each.start_ns)[:INCIDENTS_SHOWN]
            damaged = _damaged(store)
    except StoreMissingError:
        return {"boxes": [], "sites": [], "incidents": []}
    except (OpqError, sqlite3.Error) as error:
        return _not_stored(str(error))
    named = ("box_id", "name", "unplugged", "last_seen_ms")
    return {
        "boxes": [{name: row[name] for name in named} for row in rows],
        "sites": sites,
        "incidents": [
            {"id": each.incident_id, "start_ms": each.start_ns // 10**6, "what": headline(each)}
            for each in incidents
        ],
        **({"damaged": damaged} if damaged else {}),
        "lost": [*lost[-LOST_SHOWN:], *([SEEN] if lost else [])],
    }


def _damaged(store: CloudStore) -> str | None:
    """What could not be read just now, else what is set aside."""
    counts = ", ".join(f"{count} of {name}" for name, count in store.unreadable.items())
    if counts:
        return f"documents that cannot be read: {counts}; opq-tools store check names each"
    return store.intervals.damaged_words()


def _sites(store: CloudStore) -> list[dict[str, Any]]:
    """The sites that Boxes state, with u2 of the newest ten minutes; null: not known.

    `wiring`: how the phases are connected otherwise than stated; null: they are not.
    """
    found = []
    for name, boxes, newest in sites_together(store.intervals, store.boxes()):
        found.append(
            {
                "name": name,
                "box_ids": [each.box_id for each in boxes],
                "start_ms": None if newest is None else newest.start_ns // 10**6,
                "u2_ratio": None if newest is None else newest.u2_ratio,
                "wiring": None if newest is None else newest.wiring or None,
            }
        )
    return found


def _disk(folder: Path) -> dict[str, int] | None:
    try:
        space = shutil.disk_usage(folder)
    except OSError:
        return None
    return {"free_bytes": space.free, "bytes": space.total}


def status_lines(status: Mapping[str, Any], now_s: float) -> list[str]:
    """The status for a person."""
    stored = [] if _is_gateway_alone(status) else [*_box_lines(status, now_s), *_site_lines(status, now_s)]
    stored += [] if _is_gateway_alone(status) else _incident_lines(status)
    return [*_service_lines(status), *stored, *_disk_lines(status)]


def _is_gateway_alone(status: Mapping[str, Any]) -> bool:
    """Whether nothing here has a store, so that a list of what is in it would say nothing."""
    names = {each["name"] for each in status["services"]}
    return bool(names) and names <= {GATEWAY, RULES} and not status["boxes"] and not status["incidents"]


def _service_lines(status: Mapping[str, Any]) -> list[str]:
    meant = [each for each in status["services"] if each["meant"]]
    is_ill = meant or status["not_ok"]
    words = "well" if status["ok"] else "not well" if is_ill else "nothing is meant to run here"
    lines = [f"system      {status['data_dir']}: {words}"]
    for each in status["not_ok"]:
        lines.append(f"not well    {each['name']}: {each['info']}")
        lines += [f"            {each['helps']}"] if each["helps"] else []
    lines += [f"note        {each}" for each in status["notes"]]
    running = [each["name"] for each in status["services"] if each["state"] == ServiceState.RUNS]
    if running:
        lines.append(f"runs        {', '.join(running)}")
    for other in status["others"]:
        ports = ", ".join(str(urlsplit(url).port) for url in other["urls"])
        lines.append(f"another     the system of {other['data_dir']} runs at {ports}")
    if status["page"] is not None:
        lines.append(f"page        {status['page']}")
    if "damaged" in status:
        lines.append(f"damaged     {status['damaged']}")
    if status["gateway"] is not None:
        first, *more = status_words(status["gateway"])
        lines += [f"gateway     {first}", *(f"            {line}" for line in more)]
    return lines


def _box_lines(status: Mapping[str, Any], now_s: float) -> list[str]:
    rows = []
    for box in status["boxes"]:
        seen_ms = box["last_seen_ms"]
        age_s = None if seen_ms is None else now_s - seen_ms / 1000
        if box["unplugged"]:
            word = "unplugged"
        elif age_s is None:
            word = "never heard"
        else:
            word = "measures" if age_s <= SILENT_S else f"silent since {_when(seen_ms)}"
        rows.append((word == "measures", f"{box['box_id']:>6}  {box['name']:<20}  {word}"))
    rows.sort(key=lambda row: row[0])  # what is not well first
    lines = [line for _, line in rows[:BOXES_SHOWN]]
    if len(rows) > BOXES_SHOWN:
        lines.append(f"        and {len(rows) - BOXES_SHOWN} more: opq-tools boxes show")
    if "store_problem" in status:
        return [f"Boxes       not known: {status['store_problem']}"]
    heading = f"Boxes       {len(rows)}, {sum(well for well, _ in rows)} of them measure"
    return [heading, *lines] if rows else ["Boxes       none in the store"]


def _site_lines(status: Mapping[str, Any], now_s: float) -> list[str]:
    """Nothing where no Box states a site."""
    heard_s = {each["box_id"]: (each["last_seen_ms"] or 0) / 1000 for each in status["boxes"]}
    lines = []
    for site in status["sites"]:
        measure = sum(now_s - heard_s.get(box_id, 0) <= SILENT_S for box_id in site["box_ids"])
        u2 = "u2 not known"
        if site["u2_ratio"] is not None:
            u2 = f"u2 {100 * site['u2_ratio']:.2f} % in the ten minutes from {_when(site['start_ms'])}"
        if site["wiring"] is not None:
            u2 = f"u2 not judged: {site['wiring']}"
        lines.append(f"        {site['name']:<20}  {measure} of {len(site['box_ids'])} measure, {u2}")
    more = len(lines) - SITES_SHOWN
    rest = [f"        and {more} more: opq-tools boxes show"] if more > 0 else []
    return [f"sites       {len(lines)}", *lines[:SITES_SHOWN], *rest] if lines else []


def _incident_lines(status: Mapping[str, Any]) -> list[str]:
    none = "not known" if "store_problem" in status else "none"
    lines = [f"incidents   {'' if status['incidents'] else none}".rstrip()]
    lines += [f"{each['id']:>6}  {_when(each['start_ms'])}  {each['what']}" for each in status["incidents"]]
    return lines


def _disk_lines(status: Mapping[str, Any]) -> list[str]:
    disk = status["disk"]
    if disk is None:
        return []
    return [f"disk        {disk['free_bytes'] / 1e9:.1f} of {disk['bytes'] / 1e9:.0f} GB are free"]


def _when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@click.command(short_help="What runs here, Boxes, last incidents, disk: one screen.")
@click.option("--watch", is_flag=True, help="Show it again each two seconds, until Ctrl-C.")
@any_data_dir_option
@port_offset_option
@json_option
def command(watch: bool, data_dir: Path | None, port_offset: int | None, as_json: bool) -> None:
    """What is meant to run here and does, its Boxes, the last incidents and the disk, on one screen.

    Ends with 0 only if all that is meant to run here is well; `opq-tools doctor` says what helps.

    Example: opq-tools status --watch
    """
    folder, offset = find_system(data_dir, port_offset)
    if watch and not as_json:
        _watch(folder, offset)
        return
    status = system_status(folder, offset)
    click.echo(json.dumps(status) if as_json else "\n".join(status_lines(status, time.time())))
    if not status["ok"]:
        raise click.exceptions.Exit(1)


def _watch(folder: Path, offset: int) -> None:
    from rich.live import Live
    from rich.text import Text

    try:
        with Live(screen=True, auto_refresh=False) as live:
            while True:
                lines = status_lines(system_status(folder, offset), time.time())
                live.update(Text("\n".join(lines)), refresh=True)
                time.sleep(2.0)
    except KeyboardInterrupt:
        return
