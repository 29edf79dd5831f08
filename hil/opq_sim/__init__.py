"""Boxes without hardware: mains, power systems, Boxes, fleets, data sets, score, faults."""
