"""Analyses by name and settings, from this folder's `analyses/` through the plug-in host."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opq_plugins.host.one_file import available, load
from opq_plugins.sdk.analysis import Analysis
from opq_proto.errors import PluginError
from opq_proto.messages import Event, Finding

BUILT_IN = Path(__file__).parent / "analyses"


def built_in() -> frozenset[str]:
    """Names of those of this folder."""
    return frozenset(available((BUILT_IN,)))


def load_analyses(
    entries: Sequence[tuple[str, Mapping[str, Any]]], folders: Sequence[Path] = (BUILT_IN,)
) -> list[Analysis]:
    """(name, settings) of each; no entries: all there are, with their defaults.

    Raises PluginError, with every problem of the first analysis that has one.
    """
    wanted = entries or [(name, {}) for name in available(folders)]
    loaded = []
    for name, settings in wanted:
        plugin = load("analysis", name, settings, folders)
        if (plugin.module.takes, plugin.module.gives) != (Event, Finding):
            raise PluginError(
                f"analysis plug-in {name!r} takes {plugin.module.takes!r} and gives {plugin.module.gives!r}; "
                "want Event and Finding of opq_proto.messages"
            )
        loaded.append(
            Analysis(
                name=plugin.name,
                analyse=plugin.module.analyse,
                config=plugin.config,
                fixed=frozenset(settings),
                begin=getattr(plugin.module, "begin", None),
            )
        )
    return loaded
