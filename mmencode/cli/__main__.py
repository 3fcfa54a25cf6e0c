"""`python -m mmencode.cli`, for where scripts aren't on the path."""

from __future__ import annotations

from . import main

main()
