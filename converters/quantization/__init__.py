"""Quantizers, their reports, and the choice between them."""
