"""Other systems on the other side of the broker, the real ones."""
