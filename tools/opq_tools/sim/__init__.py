"""`opq-tools sim`: a simulated grid and its Boxes."""
