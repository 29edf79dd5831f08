"""`opq-tools status`: what runs here, its Boxes, the last incidents and the disk, on one screen."""

import json
import shutil
import sqlite3
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from opq_cloud.core.conditions import CONDITIONS
from opq_cloud.store import FILE_NAME, open_store
from opq_cloud.view.web.words import headline
from opq_gateway.local.running_gateway import read_status, status_words
from opq_proto.errors import OpqError
from opq_proto.kit.command_line import data_dir_option, json_option, port_offset_option
from opq_proto.kit.ports import PORTS
from opq_proto.kit.system_place import find_system, running_systems
from opq_tools.boxes.command import box_rows
from opq_tools.doctor.addresses import read_health

INCIDENTS_SHOWN = 3
BOXES_SHOWN = 20
SILENT_S = CONDITIONS["silence"].limit


def system_status(folder: Path, offset: int) -> dict[str, Any]:
    """What a data folder and the services at its ports say; what does not answer is None."""
    whole = _health(offset)
    try:
        gateway: dict[str, Any] | None = read_status(f"127.0.0.1:{PORTS['gateway_health']}", offset)
    except OpqError:
        gateway = None
    return {
        "data_dir": str(folder),
        "port_offset": offset,
        "page": f"http://127.0.0.1:{PORTS['view'] + offset}",
        "runs": any(each.port_offset == offset for each in running_systems()) or whole is not None,
        "cloud": whole,
        "gateway": gateway,
        **_stored(folder),
        "disk": _disk(folder),
    }


def _health(offset: int) -> dict[str, Any] | None:
    try:
        document = read_health("mauka_health", offset)
    except (OSError, ValueError):
        return None
    parts = document.get("subcomponents") or []
    wrong = {each["name"]: each.get("info") for each in parts if not each.get("ok")}
    return {"ok": document.get("ok") is True, "parts": len(parts), "not_ok": wrong}


def _stored(folder: Path) -> dict[str, Any]:
    if not (folder / FILE_NAME).exists():
        return {"boxes": [], "incidents": []}
    try:
        store = open_store(None, folder)
    except (OpqError, sqlite3.Error) as error:
        return {"boxes": [], "incidents": [], "store_problem": str(error)}
    try:
        rows = [row for row in box_rows(store) if row["retired_ms"] is None]
        incidents = store.incidents(limit=INCIDENTS_SHOWN)
    finally:
        store.close()
    named = ("box_id", "name", "unplugged", "last_seen_ms")
    return {
        "boxes": [{name: row[name] for name in named} for row in rows],
        "incidents": [
            {"id": each.incident_id, "start_ms": each.start_ns // 10**6, "what": headline(each)}
            for each in incidents
        ],
    }


def _disk(folder: Path) -> dict[str, int] | None:
    try:
        space = shutil.disk_usage(folder)
    except OSError:
        return None
    return {"free_bytes": space.free, "bytes": space.total}


def status_lines(status: Mapping[str, Any], now_s: float) -> list[str]:
    """The status for a person."""
    return [*_service_lines(status), *_box_lines(status, now_s), *_kept_lines(status)]


def _service_lines(status: Mapping[str, Any]) -> list[str]:
    lines = [f"system      {status['data_dir']}" + ("" if status["runs"] else ": does not run")]
    cloud = status["cloud"]
    if cloud is not None:
        lines.append(f"page        {status['page']}")
        lines.append(f"cloud       {'well' if cloud['ok'] else 'not well'}: {cloud['parts']} parts")
        lines += [f"            {name}: {info or 'not well'}" for name, info in cloud["not_ok"].items()]
    elif status["runs"]:
        lines.append("cloud       does not answer")
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
    heading = f"Boxes       {len(rows)}, {sum(well for well, _ in rows)} of them measure"
    return [heading, *lines] if rows else ["Boxes       none in the store"]


def _kept_lines(status: Mapping[str, Any]) -> list[str]:
    lines = [f"incidents   {'' if status['incidents'] else 'none'}".rstrip()]
    lines += [f"{each['id']:>6}  {_when(each['start_ms'])}  {each['what']}" for each in status["incidents"]]
    if "store_problem" in status:
        lines.append(f"store       {status['store_problem']}")
    disk = status["disk"]
    if disk is not None:
        lines.append(f"disk        {disk['free_bytes'] / 1e9:.1f} of {disk['bytes'] / 1e9:.0f} GB are free")
    return lines


def _when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@click.command(short_help="What runs here, Boxes, last incidents, disk: one screen.")
@click.option("--watch", is_flag=True, help="Show it anew each two seconds, until Ctrl-C.")
@data_dir_option
@port_offset_option
@json_option
def command(watch: bool, data_dir: Path | None, port_offset: int | None, as_json: bool) -> None:
    """What runs here, its Boxes, the last incidents and the disk, on one screen.

    Ends with 1 if a system runs and is not well; `opq-tools doctor` says what helps.

    Example: opq-tools status --watch
    """
    folder, offset = find_system(data_dir, port_offset)
    status = system_status(folder, offset)
    if as_json:
        click.echo(json.dumps(status))
    elif watch:
        _watch(folder, offset)
    else:
        click.echo("\n".join(status_lines(status, time.time())))
    if status["runs"] and not (status["cloud"] or {}).get("ok"):
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
