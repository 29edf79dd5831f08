"""Faults by seed at real gateways and a real cloud: a layout, a mix of faults, accounts of what was lost."""
