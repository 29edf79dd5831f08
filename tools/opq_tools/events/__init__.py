"""`opq-tools events`: what was asked for, of whom, why, and how long each step took."""

from opq_tools.events.command import command

__all__ = ["command"]
