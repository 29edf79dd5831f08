"""What View's pages and the commands do alike, across the rooms."""
