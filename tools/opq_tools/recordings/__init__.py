"""Recordings of any instrument: fetched, measured and classified."""
