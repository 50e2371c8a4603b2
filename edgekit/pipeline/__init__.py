"""What the commands do, as calls: convert, inspect, bench, emulate."""
