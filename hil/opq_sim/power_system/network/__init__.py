"""The network: branches, shunts, switches, faults, and its solution."""
