"""The engine takes items to unit vectors: where encoders run, how items are prepared, and the passes."""
