"""Sessions and executors: what runs a package."""
