"""`opq-tools bench classify`: compares the class given to a recording with its true class."""
