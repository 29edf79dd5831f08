"""Measurements of the original project's Mauka, reproduced exactly where they deviate from standards."""
