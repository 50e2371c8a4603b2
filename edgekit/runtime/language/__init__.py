"""Language models at run time: the native engine, its tokenizers and what generates with it."""
