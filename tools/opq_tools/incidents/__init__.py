"""`opq-tools incidents`: what people say of incidents and do to them, and which there are."""

from opq_tools.incidents.command import command

__all__ = ["command"]
