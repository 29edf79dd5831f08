"""What changed over weeks, at a Box and between Boxes: hourly values, change points, likeness."""
