"""Cost models: time and energy of work on the processors, memories and links of a profile."""
