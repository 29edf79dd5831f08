"""`opq-tools analyze`: a recording read block by block, measured, and shown."""

from opq_tools.analyze.command import command

__all__ = ["command"]
