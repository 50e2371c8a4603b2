"""The command line. Commands parse and delegate; everything they do is also a Python call."""
