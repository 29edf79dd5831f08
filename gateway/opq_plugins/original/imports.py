"""Provides what a plug-in of the original imports: `plugins.base` and the modules beside `plugins/`.

`plugins.base` and `plugins.base_plugin` are always ours: the original's open their own sockets and databases,
and fork. `config`, `constants`, `log` and `protobuf` are ours only where the folder has none.
"""

import importlib
import importlib.abc
import importlib.machinery
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from opq_plugins.original import base
from opq_proto.wire import mauka_pb2

CONSTANTS = {
    "SAMPLES_PER_CYCLE": 200.0,
    "SAMPLES_PER_MILLISECOND": 12.0,
    "SAMPLE_RATE_HZ": 12000.0,
    "CYCLES_PER_SECOND": 60.0,
    "CYCLES_PER_MILLISECOND": 0.06,
    "MILLISECONDS_PER_SECOND": 1000.0,
    "NOMINAL_VRMS": 120.0,
    "CONFIG_ENV": "MAUKA_SETTINGS",
    "TWO_PI": 6.283185307179586,
}
"""Constants of the original's Box (docs/reference/opq-interop.md E.2)."""
ALWAYS = ("plugins.base", "plugins.base_plugin")
BESIDE = ("config", "constants", "log", "protobuf", "protobuf.mauka_pb2", "protobuf.pb_util")


class OriginalModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """One instance is first in `sys.meta_path`, for ALWAYS; one is last, for BESIDE."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._names:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=fullname == "protobuf")

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        made = ModuleType(spec.name)
        for name, value in _contents(spec.name).items():
            setattr(made, name, value)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to do: `create_module` has filled it."""


def install(folder: Path) -> None:
    """Installs the imports before the plug-in is imported; `folder` contains `plugins/`."""
    sys.path.insert(0, str(folder))
    sys.meta_path.insert(0, OriginalModules(ALWAYS))
    sys.meta_path.append(OriginalModules(BESIDE))
    logging.basicConfig(stream=sys.stdout, level=logging.DEBUG, format="%(levelname)s %(name)s: %(message)s")


def _contents(name: str) -> dict[str, Any]:
    match name:
        case "plugins.base" | "plugins.base_plugin":
            later = name == "plugins.base_plugin"
            shown = ("run_plugin", "PluginState", "to_json", "from_json", "PublishedText")
            found = {each: getattr(base, each) for each in shown}
            return found | {"MaukaPlugin": base.MessagePlugin if later else base.MaukaPlugin}
        case "protobuf.mauka_pb2":
            return {each: value for each, value in vars(mauka_pb2).items() if not each.startswith("__")}
        case "protobuf.pb_util":
            pb_util = importlib.import_module("opq_plugins.original.pb_util")
            return {each: value for each, value in vars(pb_util).items() if not each.startswith("__")}
        case "config":
            return {"MaukaConfig": base.StrictSettings, "from_dict": base.StrictSettings}
        case "constants":
            return dict(CONSTANTS)
        case "log":
            return {"get_logger": logging.getLogger}
    return {}
