"""Sphinx settings: MyST pages, furo theme, warnings are errors (`sphinx -W`)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from mmencode import __version__

project = "mmencode"
author = "The mmencode authors"
copyright = "The mmencode authors"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "docstrings"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80
html_theme = "furo"
html_title = f"mmencode {release}"
exclude_patterns = ["_build"]
