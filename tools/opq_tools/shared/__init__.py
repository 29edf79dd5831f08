"""What the commands of several families use."""
