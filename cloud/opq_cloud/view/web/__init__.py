"""The way of every request: guard, sessions, forms; and the words of all pages."""
