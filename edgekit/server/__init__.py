"""An OpenAI-compatible HTTP server for one language model."""
