"""What values of SQL mean, and the batches in which they travel."""
