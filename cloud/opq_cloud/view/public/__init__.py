"""What View shows to everybody: map, grid now, wall, an incident's spread, share link, feed."""
