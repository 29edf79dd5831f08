"""`opq-tools classify`: the class of a recording, with its reasons; no server is needed."""

from opq_tools.classify.command import command

__all__ = ["command"]
