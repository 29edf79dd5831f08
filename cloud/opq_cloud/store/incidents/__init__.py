"""Incidents in the store: how each is written, searched, and shown."""
