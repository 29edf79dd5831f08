"""`opq-tools box`: sends requests to a Box through Makai, as any client of the acquisition broker may."""

from opq_tools.boxes.box.box_command import command

__all__ = ["command"]
