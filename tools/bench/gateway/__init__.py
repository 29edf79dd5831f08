"""`opq-tools bench gateway`: what a Box costs, what the ring holds, how soon it answers."""
