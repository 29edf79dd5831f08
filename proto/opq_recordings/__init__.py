"""Recordings on disk, of any instrument: read into the one noun `Recording`. See README.md in this folder."""
