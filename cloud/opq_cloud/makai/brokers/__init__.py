"""Parts of the two brokers: who may connect, what one connection may do, and what waits."""
