"""Who asks View, what they may see and change: accounts, sessions, Boxes of one's own, the log of changes."""
