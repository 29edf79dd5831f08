"""Dips, swells, interruptions and rapid voltage changes, and the verdicts on them."""
