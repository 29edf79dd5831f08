"""A place on the axis of a drawing, and the drawing's own coordinates. Pure."""

from dataclasses import dataclass

WIDTH, HEIGHT = 1000, 500
"""The drawing is stretched to its place, but the lines keep their width."""


@dataclass(frozen=True, slots=True)
class Tick:
    """In percent from the left or the top, and its words."""

    percent: float
    words: str
    crowded: bool = False
    """On a phone its words would touch those before them, or leave the chart, so they are left out there."""
