"""Writers of the formats that executors read."""
