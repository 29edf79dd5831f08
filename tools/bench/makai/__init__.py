"""`opq-tools bench makai`: all of Makai in processes of its own, under the load of simulated Boxes."""
