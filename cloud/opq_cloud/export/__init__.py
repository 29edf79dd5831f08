"""What was stored, as files that other programs read: see README.md beside this file."""
