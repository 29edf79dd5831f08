"""Boxes without hardware: mains, power systems, Boxes, fleets, data sets, score, faults."""

from opq_proto.kit.cheap_start import start_cheaply

start_cheaply()
