"""From a folder or a zip to a version on disk: manifest, archive, signature, sums, download, releases."""
