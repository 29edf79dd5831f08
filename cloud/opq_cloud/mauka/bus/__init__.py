"""The bus of Mauka: its broker and its messages."""
