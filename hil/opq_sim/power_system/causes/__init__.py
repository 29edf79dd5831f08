"""Causes of disturbances, one kind per file: each is solved from the network in which it happens."""
