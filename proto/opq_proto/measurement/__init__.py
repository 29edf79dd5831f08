"""What a Measurement has: the table of its fields and metrics, from which other rooms take their lists."""
