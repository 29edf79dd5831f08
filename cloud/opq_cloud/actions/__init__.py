"""Actions that View's pages and the commands share, across the rooms."""
