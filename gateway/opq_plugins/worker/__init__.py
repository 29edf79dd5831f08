"""The process of a plug-in: its code, its instances, and the messages to and from the host."""
