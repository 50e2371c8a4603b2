"""Building firmware, and bringing it to a board."""
