"""Analyses that are installed, replaced and removed while Mauka runs."""
