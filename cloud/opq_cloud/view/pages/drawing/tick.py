"""A place on the axis of a drawing, and the drawing's own coordinates. Pure."""

from dataclasses import dataclass

WIDTH = 1000
"""Units of the drawing, which is stretched to its place; the lines keep their width."""
HEIGHT = 500


@dataclass(frozen=True, slots=True)
class Tick:
    """In percent from the left or the top, and its words."""

    percent: float
    words: str
    crowded: bool = False
    """On a phone its words would touch those before them, or leave the chart, so they are left out there."""
