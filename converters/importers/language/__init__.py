"""From Hugging Face folders of Llama-shaped models to GGUF: configuration, weights, vocabulary."""
