"""An uploaded recording, examined by a process apart."""
