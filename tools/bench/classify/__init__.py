"""`opq-tools bench classify`: which class a recording is given, against what was put into it."""
