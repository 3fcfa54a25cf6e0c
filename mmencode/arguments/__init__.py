"""Checks of arguments that callers pass: lists, columns of tables, and counts."""
