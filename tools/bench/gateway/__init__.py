"""`opq-tools bench gateway`: the cost of a Box, the ring's capacity, the latency of answers."""
