"""The set-up page of a machine in a cabinet: Wi-Fi by NetworkManager, Boxes and their state."""
