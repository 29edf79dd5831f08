"""The name of this gateway at an MQTT broker: unique by default, and the same at every start.

Machines with the same host name, or with copies of one card, would end each other's connections and write to
the same topics. So a new installation adds letters of its machine and its data folder to the name of the
host. An existing installation keeps the name under which it has published.
"""

import hashlib
import json
import re
import secrets
import socket
from pathlib import Path

from opq_proto.kit import log
from opq_proto.kit.whole_file import write_whole_file

NAME_LETTERS = 6
MACHINE_FILES = (
    Path("/sys/firmware/devicetree/base/serial-number"),
    Path("/etc/machine-id"),
    Path("/var/lib/dbus/machine-id"),
)
"""The first differs between two boards that run copies of one card."""


def gateway_name(topic: str, topics_file: Path | None, machine: str | None = None) -> str:
    """The name of a gateway whose configuration states none.

    Args:
        topic: the prefix of its topics.
        topics_file: the list of published topics; the name is kept beside it. None: the name is not kept.
        machine: a mark of this machine; None: it is read.
    """
    machine = machine_mark() if machine is None else machine
    host = _level(socket.gethostname())
    if topics_file is None:
        return f"{host}-{_letters(machine or secrets.token_hex(8))}"
    kept_file = topics_file.with_name("mqtt_name.json")
    kept = _read(kept_file)
    if kept.get("name") and kept.get("machine") == machine:
        return str(kept["name"])
    if kept:
        # The folder is a copy: its noted topics belong to the other gateway and stay at the broker.
        topics_file.unlink(missing_ok=True)
        log.get(service="gateway").warning("mqtt.name_of_another_machine", name=str(kept.get("name")))
    name = f"{host}-{_letters(f'{machine or secrets.token_hex(8)} {topics_file.resolve()}')}"
    if not kept and _has_published(topics_file, f"{topic}/{host}/"):
        name = host
    try:
        kept_file.parent.mkdir(parents=True, exist_ok=True)
        write_whole_file(kept_file, [json.dumps({"name": name, "machine": machine}).encode()], mode=0o600)
    except OSError as error:
        log.get(service="gateway").warning("mqtt.name_not_kept", name=name, reason=str(error))
    return name


def machine_mark() -> str:
    """A mark that distinguishes this machine from others without revealing its id; empty where there is no
    such mark."""
    found = [text for path in MACHINE_FILES if (text := _text(path))]
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:16] if found else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""


def _letters(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:NAME_LETTERS]


def _has_published(topics_file: Path, beginning: str) -> bool:
    """Whether this installation has published under the plain name of the host."""
    return any(
        topic.startswith(beginning)
        for topics in _read(topics_file).values()
        if isinstance(topics, list)
        for topic in topics
        if isinstance(topic, str)
    )


def _read(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _level(name: str) -> str:
    """A host's name as a level of a topic and as part of an id."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name) or "gateway"
