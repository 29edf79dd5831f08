"""`opq-tools incidents`: what an incident is, and what people make of it: notes, labels, splits, merges."""
