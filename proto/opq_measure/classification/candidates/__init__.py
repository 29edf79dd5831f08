"""What a signal may be, before the classifier chooses."""
