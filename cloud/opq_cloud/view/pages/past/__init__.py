"""Calendar, comparison and reports."""
