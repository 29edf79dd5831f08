"""Worlds for firmware: the inputs from outside the chip, and the output of the Box."""
