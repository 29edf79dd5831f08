"""Releases of gateways and Boxes: the plan of a roll-out, and the reports of gateways about it."""
