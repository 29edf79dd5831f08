"""What a Box says over its port: read, put in order, stamped once."""
