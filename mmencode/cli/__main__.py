"""Run the command line as `python -m mmencode.cli`, where the script isn't on the path."""

from __future__ import annotations

from . import main

main()
