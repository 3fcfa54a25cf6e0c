"""Sphinx settings: MyST pages, furo theme, warnings are errors (`sphinx -W`)."""

from mmencode import __version__

project = "mmencode"
author = "The mmencode authors"
copyright = "The mmencode authors"
release = __version__
extensions = ["myst_parser"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"mmencode {release}"
exclude_patterns = ["_build"]
