"""What an operator does to the plug-ins, and sees of them."""
