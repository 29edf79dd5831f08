"""`opq-tools up`: the whole house on this machine, in one command."""

from opq_tools.up.command import command

__all__ = ["command"]
