"""Parts of a world of faults: Boxes, processes, networks, disks, databases and peers that fail on request."""
