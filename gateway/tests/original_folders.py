"""Folders with plug-ins of the original, and a running service for them."""

from pathlib import Path

from opq_cloud.mauka.original.original_plugins import OriginalPlugins
from opq_cloud.mauka.original.settings import DEFAULTS
from opq_cloud.mauka.running.known.plugin_states import PluginStates
from opq_plugins.policy import Policy, ProcessLimits

GUIDE = """\
# plugins/MyFancyPlugin.py
import plugins.base

def run_plugin(config):
    plugins.base.run_plugin(MyFancyPlugin, config)

class MyFancyPlugin(plugins.base.MaukaPlugin):
    def __init__(self, config):
         super().__init__(config, ["foo", "bar"], "MyFancyPlugin")

    def on_message(self, topic, message):
          print(topic, message)
"""
"""The developer guide's template, letter by letter, but for its misprint `def` in place of `class`."""
PRODUCING = GUIDE.replace(
    "print(topic, message)", 'print(topic, message)\n          self.produce("topic", "message")'
)
"""With the guide's step 7."""
LIST = """\
import plugins

if __name__ == "__main__":
    plugins_list = [
        # plugins.PrintPlugin,
        {listed}
    ]
    for plugin in plugins_list:
        plugin.run_plugin({{}})
"""


def write_folder(folder: Path, **codes: str) -> Path:
    """`folder` as the guide says, with these modules of `plugins/`, all listed in OpqMauka.py."""
    (folder / "plugins").mkdir(parents=True, exist_ok=True)
    lines = "".join(f"from plugins import {name}\n" for name in codes)
    (folder / "plugins" / "__init__.py").write_text(lines)
    for name, code in codes.items():
        (folder / "plugins" / f"{name}.py").write_text(code)
    listed = ",\n        ".join(f"plugins.{name}" for name in codes)
    (folder / "OpqMauka.py").write_text(LIST.format(listed=listed))
    return folder


def plugin_code(name: str, body: str, topics: str = '["foo"]', head: str = "") -> str:
    """One in the guide's form, with this `on_message`."""
    lines = "\n".join(f"        {line}" for line in body.splitlines())
    return (
        f"import plugins.base\n{head}\n"
        f"def run_plugin(config):\n    plugins.base.run_plugin({name}, config)\n"
        f"class {name}(plugins.base.MaukaPlugin):\n"
        f"    def __init__(self, config):\n        super().__init__(config, {topics}, {name!r})\n"
        f"    def on_message(self, topic, message):\n{lines}\n"
    )


def original_plugins(
    folder: Path, bus_settings: dict, call_s: float = 30.0, network: tuple[str, ...] = ()
) -> OriginalPlugins:
    """The service, on `folder` as Mauka's data folder. `network`: what the plug-ins may use besides."""
    policy = Policy(limits=ProcessLimits(call_s=call_s), network=network)
    states = PluginStates(folder / "mauka" / "plugins.json")
    return OriginalPlugins(folder / "mauka", {**DEFAULTS, **bus_settings}, policy, states)
