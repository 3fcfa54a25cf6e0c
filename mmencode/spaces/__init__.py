"""Shared embedding spaces are loaded, saved, verified, composed, aligned, bridged and measured here."""
