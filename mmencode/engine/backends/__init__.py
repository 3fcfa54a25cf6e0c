"""Other libraries that compute an encoder's forward pass on a CPU, from a graph exported once and kept."""
