"""Rules of a verdict, one module for each question: data lost, dips, gaps and reasons, outages. Pure."""
