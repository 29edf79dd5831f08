"""One named plug-in with its settings, as `[triggering_service]` and `[mauka]` list them.

Makai's settings and Mauka's do not import each other, so it is part of neither.
"""

from typing import Annotated, Any

from opq_proto.config.reading import Field, Why, section


@section
class PluginEntry:
    """One `[[triggering_service.plugins]]`, or one `[[mauka.analyses]]`."""

    name: Annotated[
        str,
        Field(min_length=1, description="name of a trigger, e.g. threshold, or an analysis, e.g. harmonics"),
        Why("Name a built-in or installed one, or a trigger's file in one of `plugin_folders`."),
    ]
    settings: Annotated[
        dict[str, Any],
        Field(description="fields of the plug-in's Config"),
        Why("Set what the plug-in documents, such as a threshold."),
    ] = Field(default_factory=dict)
