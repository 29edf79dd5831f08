"""Boxes that lost their supply, told apart from Boxes whose network is gone (docs/mauka.md, "Outages")."""
