"""What confines the process of a plug-in."""
