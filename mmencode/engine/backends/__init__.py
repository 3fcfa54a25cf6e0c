"""Backends: libraries beside torch that compute forward passes on a CPU, from graphs kept on disk."""
