"""Results: vectors that know their space, what is kept of them in files, and how they are searched."""
