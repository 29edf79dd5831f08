"""`opq-tools bench makai`: the whole of Makai in processes of its own, under the load of simulated Boxes."""
