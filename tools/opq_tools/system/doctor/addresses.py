"""What is wrong with services and ports: what does not run, is not well, or is held by others."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from opq_proto.kit.ports import PORTS
from opq_proto.kit.system_answers import read_system
from opq_proto.kit.system_place import UNITS, UNITS_DATA_DIR
from opq_proto.kit.system_record import CLOUD, GATEWAY, RULES, file_of, read_record
from opq_proto.kit.system_verdict import ServiceState, ServiceVerdict, SystemVerdict
from opq_tools.system.doctor.problem import Problem

OWNERS = {"gateway_health": GATEWAY, "rules": RULES}
"""Ports that another service than the cloud's binds."""
TCP_LISTEN = "0A"
OFFSET = "start this system with another --port-offset; opq-tools up --free-ports finds one"
Holder = tuple[str, str]
"""Name and number of a process."""


def check_services(folder: Path, offset: int) -> Iterator[Problem]:
    """Yields what is wrong with the services of a data folder, and with ports that they need."""
    record = read_record(folder)
    verdict = read_system(record, offset)
    if record.problem:
        yield Problem("record", record.problem, f"run this as the owner of {folder}, or with sudo")
    holders = _holders()
    for service in verdict.services:
        if service.state is not ServiceState.RUNS:
            yield Problem("service", f"{service.name} {service.text}", _fix(service, folder, holders))
    named = {each.name for each in verdict.services if each.state is not ServiceState.RUNS} | {"record"}
    for trouble in verdict.troubles:
        if trouble.name not in named:
            text = f"{trouble.thing} is not well: {trouble.info}"
            helps = trouble.helps or "what it says"
            yield Problem("service", text, f"{helps}; {_log(trouble.name, folder)} has more")
    yield from _ports(verdict, offset, holders)
    for note in verdict.notes:
        yield Problem("note", note.info, "nothing, if that is meant", is_note=True)


def _fix(service: ServiceVerdict, folder: Path, holders: dict[int, Holder]) -> str:
    log = _log(service.name, folder)
    if service.state is ServiceState.OTHER:
        return OFFSET
    if service.state is ServiceState.HANGS:
        return f"start it again if it stays so; {log} says what it did last"
    unit = _unit(service.name, folder)
    start = f"sudo systemctl restart {unit}" if unit else "start it again as before"
    forget = f"if it is not meant to run here any more: rm {file_of(folder, service.name)}"
    return f"{start}; {log} says why it ended; {forget}"


def _unit(name: str, folder: Path) -> str:
    """The unit of a service; empty where it is not one of systemd's."""
    if name == RULES or folder != UNITS_DATA_DIR or not any(UNITS.glob("opq-*.service")):
        return ""
    if name == CLOUD:
        name = "all-but-brokers"
    return "opq-gateway" if name == GATEWAY else f"opq-cloud@{name}"


def _log(name: str, folder: Path) -> str:
    unit = _unit(name, folder)
    return f"journalctl -u {unit}" if unit else f"opq-tools logs --data-dir {folder}, or its terminal,"


def _ports(verdict: SystemVerdict, offset: int, holders: dict[int, Holder]) -> Iterator[Problem]:
    """Yields ports that others hold.

    Where nothing is meant to run yet these are all of ours, else those of services that do not run. Another
    system at such a port is named with the service.
    """
    stopped = {each.name for each in verdict.services if each.state is ServiceState.STOPPED}
    held: dict[str, list[int]] = {}
    own = {holders.get(_port(each.url)) for each in verdict.services if each.state is ServiceState.RUNS}
    systems = {holders.get(_port(url)): other for other, urls in verdict.others.items() for url in urls}
    for name, port in sorted(PORTS.items(), key=lambda item: item[1]):
        needed = stopped & {OWNERS[name]} if name in OWNERS else stopped - set(OWNERS.values())
        if (verdict.services and not needed) or _is_free(port + offset):
            continue
        holder = holders.get(port + offset)
        if holder is not None and holder in systems:
            held.setdefault(systems[holder], []).append(port + offset)
        elif holder not in own and (holder is not None or not verdict.services):
            program = "another program" if holder is None else f"{holder[0]} (process {holder[1]})"
            text = f"{port + offset} ({name}) is held by {program}"
            yield Problem("port", text, "end that program, or give all our commands --port-offset")
    for other, ports in held.items() if not verdict.services else ():
        verb = "is" if len(ports) == 1 else "are"
        text = f"{', '.join(map(str, ports))} {verb} held by the system of {other}, which may go on"
        yield Problem("port", text, OFFSET)


def _port(url: str) -> int:
    return urlsplit(url).port or 0


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _holders() -> dict[int, Holder]:
    """Port -> the program that listens there, as far as this user may know."""
    ports: dict[str, int] = {}
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == TCP_LISTEN:
                ports[f"socket:[{fields[9]}]"] = int(fields[1].rpartition(":")[2], 16)
    found: dict[int, Holder] = {}
    for process in Path("/proc").glob("[0-9]*"):
        for name in _open_files(process):
            if name in ports:
                with suppress(OSError):
                    found[ports[name]] = ((process / "comm").read_text().strip(), process.name)
    return found


def _open_files(process: Path) -> Iterator[str]:
    with suppress(OSError):  # of another user, or it has ended
        for entry in (process / "fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                yield os.readlink(entry)  # noqa: PTH115 - three times as fast
