"""Measurements in the triggering service: read in turns, stored, acknowledged, and their trends."""
