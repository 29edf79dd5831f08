"""Pages of accounts and of one's own Boxes."""
