"""Plug-ins in use: they are started, called, replaced while they run, watched and ended."""
