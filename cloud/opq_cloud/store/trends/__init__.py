"""The arithmetic of trends, for both stores."""
