"""`opq_plugins.sdk` by the names that plug-ins import which were written before it was a room of its own."""

import sys

from opq_plugins import sdk
from opq_plugins.sdk import portable

__path__ = sdk.__path__  # where the Makefile of a plug-in in C finds opq_plugin.h
sys.modules[f"{__name__}.portable"] = portable
