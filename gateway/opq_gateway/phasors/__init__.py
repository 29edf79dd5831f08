"""Synchrophasors to PMU clients: a stream of IEEE C37.118.2."""
