"""What every request passes: guard, sessions, forms; and the words of all pages."""
