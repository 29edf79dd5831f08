"""`opq-tools calibrate`: gain, offset and phase of a Box against a reference."""
