"""`opq-tools plan`: what so many Boxes want of machines, by measured figures."""
