"""Worlds for firmware: what lies outside the chip, and what the Box sent."""
