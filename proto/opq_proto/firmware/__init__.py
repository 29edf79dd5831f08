"""Firmware images, and how one is sent to a Box."""
