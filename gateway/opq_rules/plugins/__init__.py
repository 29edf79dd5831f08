"""Plug-in host of gateway and cloud: manifest, load, settings. See `host.load`."""

from opq_rules.plugins.host import Plugin, available, load
from opq_rules.plugins.manifest import Manifest

__all__ = ["Manifest", "Plugin", "available", "load"]
