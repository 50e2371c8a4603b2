"""Everything that turns a trained model into what a device can run."""
