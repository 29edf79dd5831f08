"""The windows of D.2, one kind per file; `window` has what they share."""
