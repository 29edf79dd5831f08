"""Causes of disturbances, one kind per file: each is solved from the network that it happens in."""
