"""What keeps a system over the years: copies of its data, and their way back."""
