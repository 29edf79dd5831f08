"""Plug-ins of the original, unchanged: their folders, messages, settings, processes; findings as theirs."""
