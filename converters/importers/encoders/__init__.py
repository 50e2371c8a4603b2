"""Encoders of the BERT family, built from a configuration and a checkpoint."""
