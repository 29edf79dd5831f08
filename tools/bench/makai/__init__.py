"""`opq-tools bench makai`: all of Makai in its own processes, under the load of simulated Boxes."""
