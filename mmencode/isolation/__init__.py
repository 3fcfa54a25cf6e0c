"""Protection of the state that the caller shares with mmencode: torch's settings, networks, forked locks."""
