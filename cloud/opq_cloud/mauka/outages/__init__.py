"""Boxes that lost their supply, and not only their network (docs/mauka-cases.md, "Outages")."""
