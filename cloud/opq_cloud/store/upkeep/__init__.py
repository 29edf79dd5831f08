"""Maintenance of a store: checks, copies into another store, and repair."""
