"""Implement `mmencode demo`, which classifies and searches photographs and sounds without the network."""
