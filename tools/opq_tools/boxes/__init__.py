"""`opq-tools boxes`: names, places and gains of Boxes, in the store of a running or a stopped cloud."""

from opq_tools.boxes.command import command

__all__ = ["command"]
