"""`opq-tools report`."""
