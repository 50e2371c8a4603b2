"""Boards on a serial line: found, programmed, asked for inferences (docs/serial-protocol.md)."""
