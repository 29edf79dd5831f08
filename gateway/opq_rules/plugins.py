"""`opq_plugins.sdk` under its former name, for older plug-ins."""

from opq_plugins import sdk

__path__ = sdk.__path__  # the Makefile of a plug-in in C finds opq_plugin.h here
