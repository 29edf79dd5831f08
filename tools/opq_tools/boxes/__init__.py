"""`opq-tools boxes`: names, places and gains of Boxes, in the store of a running or stopped cloud."""
