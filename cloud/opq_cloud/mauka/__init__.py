"""Mauka: the bus, the plug-ins on it, and the analyses that turn events into findings."""
