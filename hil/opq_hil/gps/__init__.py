"""A GPS receiver and a Box's oscillator: what a Box has for its time."""
