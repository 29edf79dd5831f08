"""`opq-tools events`: what was requested from which Boxes, why, and how long each step took."""
