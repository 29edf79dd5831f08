"""Boxes without hardware: mains, power systems, Boxes, fleets, data sets, score, faults."""

from opq_proto.kit.cheap_start import set_library_defaults

set_library_defaults()
