"""What the caller owns and shares with us, kept as it is: torch's state, networks, locks over a fork."""
