"""The plug-ins that an operator has disabled or unloaded: kept in a file, so that they survive a restart."""

import json
import threading
from pathlib import Path

from opq_proto.kit import log as logs
from opq_proto.kit.whole_file import PRIVATE_MODE, private_folder, write_whole_file

log = logs.get(service="mauka")


class PluginStates:
    """Thread-safe. A file that cannot be read counts as empty, and is logged."""

    def __init__(self, path: Path) -> None:
        """`path`: <data>/mauka/plugins.json; written with the first change."""
        self._path = path
        self._lock = threading.Lock()
        self._disabled: set[str] = set()
        self._unloaded: set[str] = set()
        try:
            found = json.loads(path.read_bytes())
            self._disabled = {str(each) for each in found["disabled"]}
            self._unloaded = {str(each) for each in found["unloaded"]}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.error("plugin_states.unreadable", path=str(path), error=str(error))

    @property
    def disabled(self) -> frozenset[str]:
        return frozenset(self._disabled)

    def enabled(self, plugin: str) -> bool:
        return plugin not in self._disabled

    def unloaded(self, plugin: str) -> bool:
        return plugin in self._unloaded

    def enable(self, plugin: str) -> None:
        """Enables a plug-in. Raises OSError: the file cannot be written, and nothing has changed."""
        self._change(self._disabled - {plugin}, self._unloaded)

    def disable(self, plugin: str) -> None:
        """Disables a plug-in. Raises as `enable` does."""
        self._change(self._disabled | {plugin}, self._unloaded)

    def load(self, plugin: str) -> None:
        self._change(self._disabled, self._unloaded - {plugin})

    def unload(self, plugin: str) -> None:
        self._change(self._disabled, self._unloaded | {plugin})

    def _change(self, disabled: set[str], unloaded: set[str]) -> None:
        with self._lock:
            if (disabled, unloaded) == (self._disabled, self._unloaded):
                return
            private_folder(self._path.parent, ours=False)
            text = json.dumps({"disabled": sorted(disabled), "unloaded": sorted(unloaded)}, indent=1)
            write_whole_file(self._path, [text.encode(), b"\n"], PRIVATE_MODE)
            self._disabled, self._unloaded = disabled, unloaded
