"""Which processor runs what."""
