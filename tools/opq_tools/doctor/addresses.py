"""What is wrong with the addresses: ports that others hold, services that do not answer or are not well."""

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opq_proto.kit.ports import PORTS
from opq_tools.doctor.problem import Problem

ANSWER_S = 2.0
HEALTHS = ("mauka_health", "gateway_health")
"""Those of a whole system; services that run apart have their own, which systemd and Prometheus ask."""
MAX_BYTES = 10_000_000


def check_addresses(offset: int, runs: bool) -> Iterator[Problem]:
    """Yields what is wrong; `runs`: a system of ours holds the ports at this offset."""
    if runs:
        yield from _health(offset)
        return
    for name, port in sorted(PORTS.items(), key=lambda item: item[1]):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port + offset))
            except OSError:
                holder = _holder(port + offset)
                text = f"{port + offset} ({name}) is held by {holder or 'another program'}"
                yield Problem("port", text, "end that program, or give all our commands --port-offset")


def read_health(name: str, offset: int) -> dict[str, Any]:
    """Returns what the health address at the port `name` answers. Raises OSError, ValueError.

    The cloud's are the verdicts of its table of conditions (`opq_cloud.core.conditions`).
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    path = "/alerts" if name == "mauka_health" else "/"
    with opener.open(f"http://127.0.0.1:{PORTS[name] + offset}{path}", timeout=ANSWER_S) as answer:
        document: dict[str, Any] = json.loads(answer.read(MAX_BYTES))
    return document


def _health(offset: int) -> Iterator[Problem]:
    for name in HEALTHS:
        try:
            document = read_health(name, offset)
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            text = f"http://127.0.0.1:{PORTS[name] + offset}/ does not answer: {reason}"
            yield Problem("service", text, "opq-tools service status; its log says why")
            continue
        if document.get("ok") is not True:
            parts = [each for each in document.get("subcomponents") or () if not each.get("ok")]
            for part in parts or [document]:
                text = f"{part.get('name')} is not well: {part.get('info') or 'it does not say why'}"
                yield Problem(
                    "service", text, "what it says; journalctl, or log/ in the data folder, has more"
                )


def _holder(port: int) -> str:
    """The program that listens on a port, as far as this user may know."""
    numbers = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                numbers.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            for entry in (process / "fd").iterdir():
                if str(entry.readlink()) in numbers:
                    return f"{(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:
            continue
    return ""
