"""Mauka's built-in analyses, loaded by name and settings from the folder `analyses/`.

A separate file, so that processes that only analyse, of Dask and of Mauka itself, import no bus and no
plug-ins.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opq_plugins.package.built_in import available, load
from opq_plugins.sdk.modules import Analysis

BUILT_IN = Path(__file__).parents[2] / "analyses"


def built_in() -> frozenset[str]:
    """Returns the names of the analyses in this folder."""
    return frozenset(available((BUILT_IN,)))


def load_analyses(
    entries: Sequence[tuple[str, Mapping[str, Any]]], folders: Sequence[Path] = (BUILT_IN,)
) -> list[Analysis]:
    """Loads (name, settings) of each entry; without entries all there are, with their defaults.

    Raises PluginError, with every problem of the first analysis that has one.
    """
    wanted = entries or [(name, {}) for name in available(folders)]
    loaded = []
    for name, settings in wanted:
        plugin = load("analysis", name, settings, folders)
        loaded.append(Analysis.of(plugin.module, plugin.config, settings))
    return loaded
