"""Incidents as the store has them: what is written, searched, and shown of each."""
