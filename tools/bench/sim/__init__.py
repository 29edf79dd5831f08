"""`bench sim`: what a simulated Box costs at each depth."""
