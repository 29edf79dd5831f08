"""The original's wire formats with our additions, and what a Measurement says besides its numbers."""
