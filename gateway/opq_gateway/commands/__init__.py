"""What Makai asks of a Box, and the answers."""
