"""What changed over weeks, and other meters beside ours."""
