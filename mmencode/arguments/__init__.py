"""What callers pass, checked: lists, columns of tables, and counts."""
