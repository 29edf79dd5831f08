"""Findings and phenomena as they are stored, the index of incidents, and the original's incidents in it."""
