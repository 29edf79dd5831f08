"""`bench sim`: cost of a simulated Box at each depth."""
