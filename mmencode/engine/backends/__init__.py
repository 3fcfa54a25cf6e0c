"""Backends: libraries beside torch that compute an encoder's forward pass on a CPU, from a graph kept on disk."""
