"""Lua: a script as a trigger, by its path alone; the original's settings form with `path` and `script_path`.

In: Measurement.  Out: the result of the script's `decide(measurement, nominal)`.  State: the script's own.
The script has no files and no modules, and each call has limits of memory and instructions, so that a loop
fails within its call. For scripts that are replaced while Makai runs: an installed plug-in (docs/plugins.md).
"""

from dataclasses import dataclass, field
from pathlib import Path

from opq_plugins.sdk.nouns import decision_from, to_plain
from opq_plugins.worker.lua_script import Script
from opq_proto.decision import Decision, Nominal
from opq_proto.errors import PluginError
from opq_proto.messages import Measurement

name = "lua"
kind = "trigger"


@dataclass(frozen=True, slots=True)
class Config:
    """`settings` are passed to the script's `configure(settings)`, where it has one."""

    script_path: str = field(metadata={"help": "of the file in Lua"})
    settings: dict[str, object] = field(default_factory=dict)
    memory_mb: int = field(default=32, metadata={"minimum": 1, "maximum": 1024})
    instructions: int = field(
        default=10_000_000, metadata={"minimum": 1000, "maximum": 10**9, "help": "in one call"}
    )

    def __post_init__(self) -> None:
        """Raises ValueError: no such file, or no script with `decide`."""
        try:
            begin(self)
        except (PluginError, ValueError) as error:
            raise ValueError(f"script_path  {error}") from None


def begin(config: Config) -> Script:
    """Returns a separate Lua with the script, configured. Raises PluginError, ValueError."""
    path = Path(config.script_path)
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PluginError(f"{path} cannot be read: {error}") from None
    script = Script(source, config.memory_mb << 20, config.instructions, path.name)
    if not script.has("decide"):
        raise PluginError(f"{path} has no function decide(measurement, nominal)")
    if script.has("configure"):
        script.call("configure", dict(config.settings))
    return script


def decide(
    measurement: Measurement, nominal: Nominal, config: Config, state: Script
) -> tuple[Decision | None, Script]:
    """The script's decision: nil, or a table with metric, value, limit, because, and span_ns for an end."""
    answer = state.call("decide", to_plain(measurement), to_plain(nominal))
    return decision_from(answer or None), state
