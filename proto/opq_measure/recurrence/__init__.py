"""Whether disturbances come back at the same time of day, or at the same interval."""
