"""`opq-tools plan`: the machines that a number of Boxes needs, by measured figures."""
