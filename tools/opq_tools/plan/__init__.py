"""`opq-tools plan`: what so many Boxes want of machines, by measured figures."""

from opq_tools.plan.command import command

__all__ = ["command"]
