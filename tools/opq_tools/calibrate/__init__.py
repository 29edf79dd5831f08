"""`opq-tools calibrate`: gain, offset and phase of a Box against a reference."""

from opq_tools.calibrate.command import command

__all__ = ["command"]
