"""httppull: rest by the name that eKuiper's users know it by."""

from opq_rules.connections.rest import USERS, Config, check

__all__ = ["USERS", "Config", "check"]
