"""Where cycles begin and end: the fundamental tracked by its phase, and windows of whole cycles."""
