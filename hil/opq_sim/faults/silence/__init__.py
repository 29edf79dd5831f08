"""Faults by seed that make Boxes silent: which are outages, and where each gap arose."""
