"""edgekit: from a trained model and a named device to something that really runs there."""

from __future__ import annotations

__version__ = "0.1.0"
