"""`opq-tools events`: what was asked for, of whom, why, and how long each step took."""
