"""A GPS receiver and a Box's oscillator: the time sources of a Box."""
