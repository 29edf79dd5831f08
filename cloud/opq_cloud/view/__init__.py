"""View: the page at http://127.0.0.1:8888 (rooms, files and figures: README.md in this folder)."""
