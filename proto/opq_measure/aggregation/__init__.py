"""Values of windows combined: over 150/180 cycles, ten minutes, two hours; over three Boxes."""
