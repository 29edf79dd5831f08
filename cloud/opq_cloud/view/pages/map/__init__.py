"""Map, grid, wall and what everybody may see."""
