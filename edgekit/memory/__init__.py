"""Where every byte lies: exact and greedy offset planning."""
