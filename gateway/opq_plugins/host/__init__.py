"""Plug-ins in use: started, called, replaced while they run, watched, ended."""
