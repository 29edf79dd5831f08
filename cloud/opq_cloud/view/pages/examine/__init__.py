"""One incident on one time axis."""
