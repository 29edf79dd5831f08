"""Pages of accounts and of owned Boxes."""
