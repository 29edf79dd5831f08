"""What is wrong with this machine, its data folder and its addresses, and what helps."""
