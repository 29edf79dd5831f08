"""The rule engine over HTTP, in the manner of eKuiper, and as a process of its own."""

from opq_rules.api.command import main

__all__ = ["main"]
