"""Time and energy models."""
