"""Simulated Boxes on ptys, and the process that hosts them (`python -m opq_sim.box`)."""
