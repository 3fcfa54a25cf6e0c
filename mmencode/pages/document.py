"""The frame of every page, and the escaping of all words and data that come into it."""

from __future__ import annotations

import base64
import hashlib
import json
import unicodedata
from html import escape
from importlib.resources import files
from typing import Any

# The policy makes the browser refuse all that isn't in the page, and every script but the page's own.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; base-uri 'none'; form-action 'none'; {policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
{body}
{script}</body>
</html>
"""
_BIDIRECTIONAL = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_POLICY = "style-src 'unsafe-inline'; img-src data:; media-src data:"


def document(title: str, body: str, *, style: str = "", script: str = "") -> str:
    """Put a body of HTML into a whole page, with a style beyond the common one and at most one script.

    The policy names the script by its digest (Content Security Policy Level 3, section 2.3.1), so that a
    script which came with the data can't run.
    """
    policy, element = _POLICY, ""
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy, element = f"{_POLICY}; script-src 'sha256-{digest}'", f"<script>{script}</script>\n"
    style = read_resource("base.css") + style
    return _PAGE.format(title=escape_html(title), body=body, style=style, policy=policy, script=element)


def read_resource(name: str) -> str:
    """Read a text file of this package."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def escape_html(value: object) -> str:
    """Escape a value for the content of an HTML element, or for an attribute in double quotes."""
    return escape(escape_controls(str(value)))


def escape_controls(text: str) -> str:
    """Spell out characters that no page can hold, or that change the direction of the text around them.

    These are control characters but newline and tab, lone surrogates, and Unicode's bidirectional controls.
    """
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if character in _BIDIRECTIONAL
        or (unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t")
        else character
        for character in text
    )


def data_block(name: str, content: Any) -> str:
    """Write data for the page's script as a JSON element, which no word in the data can close."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="{escape_html(name)}">{text}</script>'


def format_score(value: float) -> str:
    """Format a cosine similarity for a page."""
    return f"{value:.3f}"
