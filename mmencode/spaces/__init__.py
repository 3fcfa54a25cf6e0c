"""Shared embedding spaces: loaded, saved, verified, composed, aligned, bridged and measured."""
