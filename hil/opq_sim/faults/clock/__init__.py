"""Clocks that are set, by seed: nothing false is reported, and no dip is lost."""
