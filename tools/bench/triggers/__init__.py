"""`opq-tools bench triggers`: what each class's trigger misses and what none should have found."""
