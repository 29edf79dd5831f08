"""The analyses that the configuration names, with their settings."""

from opq_cloud.core.settings.mauka import MaukaSection
from opq_cloud.mauka.plugin import PluginConfig


def analysis_entries(mauka: MaukaSection, own: frozenset[str]) -> list[tuple[str, PluginConfig]]:
    """Returns (name, settings) of the analyses that the configuration names, in either of its two ways.

    `own`: names of the built-in ones, all of which run where `mauka.analyses` names none of them.
    """
    shared = mauka.analysis_settings
    entries: list[tuple[str, PluginConfig]] = [
        (entry.name, {**shared.get(entry.name, {}), **entry.settings}) for entry in mauka.analyses
    ]
    named = {name for name, _ in entries}
    if not shared:
        return entries
    others = (shared.keys() - own) | (frozenset() if named & own else own)
    return entries + [(name, shared.get(name, {})) for name in sorted(others - named)]
