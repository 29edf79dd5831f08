"""Plug-ins on the bus under the names of the original ones."""
