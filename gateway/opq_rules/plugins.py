"""`opq_plugins.sdk` under its former name, for older plug-ins."""

import sys

from opq_plugins import sdk
from opq_plugins.sdk import portable

__path__ = sdk.__path__  # the Makefile of a plug-in in C finds opq_plugin.h here
sys.modules[f"{__name__}.portable"] = portable
