"""`opq-tools sim`: a simulated grid and its Boxes."""

from opq_tools.sim.command import command

__all__ = ["command"]
