"""Rows from within the process: a service's own Measurements, topics of memory, windows of samples."""
