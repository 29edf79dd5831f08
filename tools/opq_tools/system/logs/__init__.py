"""`opq-tools logs`: log lines of all services in the order of time."""

from opq_tools.system.logs.logs_command import command

__all__ = ["command"]
