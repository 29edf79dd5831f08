"""How many bits a sample costs, beside the entropy of its noise and beside what can be had."""
