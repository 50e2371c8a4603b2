"""Running packages: executors, sessions and what they observe."""
