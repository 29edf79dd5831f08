"""What View shows to everybody: map, grid now, wall; share link, feed."""
