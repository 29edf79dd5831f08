"""The actions of an operator on the plug-ins, and their state."""
