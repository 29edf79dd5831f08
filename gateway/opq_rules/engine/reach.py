"""Reach: whether a source, sink or connection of such properties gets through, tried before it is used."""

import threading
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from opq_rules.built_in import module_of
from opq_rules.engine.configurations import CONNECTIONS, SINKS
from opq_rules.engine.connections import Connections, check_properties, module, takes
from opq_rules.errors import CONFIGURATION, IO_ERROR, RuleError
from opq_rules.secrets import without_password
from opq_rules.sinking.properties import NAMES

WAIT_S = 5.0
MOST = 10
"""Under way at a time; one whose peer hangs has its place until it ends."""


class Reach:
    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._free = threading.BoundedSemaphore(MOST)

    def check(self, kind: str, type_name: str, properties: Mapping[str, Any]) -> None:
        """Connects for real, and goes again. RuleError 400 with the reason, after five seconds at most."""
        name = properties.get("resourceId") if kind == SINKS else ""
        given = self._connections.resolved(kind, type_name, name if isinstance(name, str) else "", properties)
        fitting = (type_name,) if kind == CONNECTIONS else takes(kind, type_name)
        if not fitting:
            told = f"{kind} {type_name[:80]}: connects to nothing that can be tried"
            raise RuleError(told, CONFIGURATION)
        found = module(fitting[0])
        of_connection = _of(found.Config, kind, type_name, given)
        config = check_properties(fitting[0], of_connection, f"{kind} {type_name}")
        if not self._free.acquire(blocking=False):
            raise RuleError(f"{MOST} connections are being tried; wait for them", CONFIGURATION)
        wrong: list[str] = []

        def run() -> None:
            try:
                found.check(config, WAIT_S)
            except Exception as error:  # of libraries, whatever they raise where a peer is strange
                wrong.append(without_password(str(error) or type(error).__name__))
            finally:
                self._free.release()

        thread = threading.Thread(target=run, name=f"reach-{type_name}", daemon=True)
        thread.start()
        thread.join(WAIT_S)
        if thread.is_alive():
            wrong.append(f"no answer within {WAIT_S:g} s")
        if wrong:
            raise RuleError(f"{kind} {type_name}: {wrong[0]}", IO_ERROR)


def _of(config: Any, kind: str, type_name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Without what says nothing of the connection, but belongs to the source or sink."""
    of_connection = {each.name for each in fields(config)}
    own = getattr(module_of(kind.removesuffix("s"), type_name), "Config", config)
    other = {each.name for each in fields(own)} | ({"datasource"} if kind != SINKS else NAMES)
    return {key: value for key, value in given.items() if key in of_connection or key not in other}
