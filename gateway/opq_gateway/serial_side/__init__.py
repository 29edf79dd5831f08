"""Reads what a Box sends over its port, puts it in order and stamps it once."""
