"""Accounts, their rights and what they see, the log of changes, notifications and announcements."""
