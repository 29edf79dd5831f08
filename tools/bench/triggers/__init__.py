"""`opq-tools bench triggers`: disturbances that triggers miss, and false events."""
