"""Boxes that lost their supply, and not only their network (docs/mauka.md, "Outages")."""
