"""How an analysis is called: in which process, with what, at what cost, and when it rests."""
