"""`opq-tools box`: ask a Box something through Makai, as any client of the acquisition broker may."""

from opq_tools.box.command import command

__all__ = ["command"]
