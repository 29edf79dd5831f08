"""Plug-ins of the original Mauka, as they are: their folder, what they import, how they are called."""
