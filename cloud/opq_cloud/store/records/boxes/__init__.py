"""Boxes, Makai's limits and traffic, updates of gateways, and the deletion of a Box."""
