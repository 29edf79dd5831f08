"""A world of real services and simulated Boxes."""
