"""Clients of the other services: rule engines, Boxes, Mauka's plug-in manager, the health of all."""
