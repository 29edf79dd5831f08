"""Map, grid, wall, and the pages that are the same for everybody."""
