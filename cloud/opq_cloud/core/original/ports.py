"""Addresses of the brokers in an original makai.conf, compared with the ports in the brokers' own files.

The makai.config.json that the original ships has the ports of commands and answers swapped
(docs/reference/opq-interop.md H.21); its guide sends commands to where Measurements are published (C.3).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from opq_cloud.core.settings.endpoint_ports import port_of

LOCAL = ("localhost", "127.0.0.1", "[::1]")
_FIELDS = {
    "published": ("backend", "triggering_broker", "backend_endpoint"),
    "commands": ("backend_pull", "acquisition_broker", "request_endpoint"),
    "answers": ("backend_pub", "acquisition_broker", "answer_endpoint"),
}
"""Field -> key of the original's file; section and key of ours."""


@dataclass(frozen=True, slots=True)
class BrokerPorts:
    """Where Measurements are published, commands accepted, answers published; and which a file states."""

    published: int = 9881
    commands: int = 9884
    answers: int = 9899
    stated: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class MakaiAddresses:
    """The three addresses of a makai.conf; empty where it has none."""

    measurements: str
    commands: str
    answers: str


def broker_ports(documents: Iterable[Mapping[str, object]]) -> BrokerPorts:
    """Reads the ports from brokers' files, the original's or ours; the last one that states a port counts."""
    found: dict[str, int] = {}
    for document in documents:
        for name, (original, section, key) in _FIELDS.items():
            table = document.get(section)
            address = table.get(key) if isinstance(table, Mapping) else document.get(original)
            port = port_of(address) if isinstance(address, str) else None
            if port is not None:
                found[name] = port
    return BrokerPorts(**found, stated=frozenset(found))


def corrected(given: MakaiAddresses, ports: BrokerPorts) -> tuple[MakaiAddresses, dict[str, str], str | None]:
    """Returns the addresses to use, a notice for each key that differs from a broker's file, and what was
    corrected in `zmq_acquisition_endpoint`; None: nothing was.
    """
    commands, answers, problem = given.commands, given.answers, None
    to, asked = port_of(commands), port_of(answers)
    if to == ports.answers and asked == ports.commands:
        problem = (
            f"zmq_acquisition_endpoint ({commands}) and zmq_data_endpoint ({answers}) are swapped; "
            f"commands go to {ports.commands}, answers come from {ports.answers}"
        )
        commands, answers = answers, commands
    elif _is_published(given, ports):
        problem = f"{commands} is where Measurements are published, and no command would arrive; "
        if "commands" in ports.stated or to == BrokerPorts().published:
            problem += f"commands go to {ports.commands}"
            commands = _with_port(commands, ports.commands)
        else:
            problem += "name the acquisition broker's address for commands (its backend_pull)"
    if not answers and commands and "answers" in ports.stated:
        answers = _with_port(commands, ports.answers)
    used = MakaiAddresses(given.measurements, commands, answers)
    return used, dict(_differences(used, ports)), problem


def _is_published(given: MakaiAddresses, ports: BrokerPorts) -> bool:
    to, measured = port_of(given.commands), port_of(given.measurements)
    if to is None:
        return False
    return given.commands == given.measurements or (to == ports.published and measured in (to, None))


def _differences(used: MakaiAddresses, ports: BrokerPorts) -> Iterable[tuple[str, str]]:
    for key, name, address in (
        ("zmq_trigger_endpoint", "published", used.measurements),
        ("zmq_acquisition_endpoint", "commands", used.commands),
        ("zmq_data_endpoint", "answers", used.answers),
    ):
        port, want = port_of(address), getattr(ports, name)
        if (
            name in ports.stated
            and address.startswith(tuple(f"tcp://{host}:" for host in LOCAL))
            and port != want
        ):
            yield (
                key,
                f"{address}, but the broker of this machine has port {want} in its file ({_FIELDS[name][0]})",
            )


def _with_port(address: str, port: int) -> str:
    return f"{address[: address.rindex(':')]}:{port}"
