"""The shell of every page, and the one way in which words come into it."""

from __future__ import annotations

import base64
import hashlib
import json
import unicodedata
from html import escape
from importlib.resources import files
from typing import Any

# The policy makes the browser itself refuse whatever isn't in the page, and every script but ours.
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
_TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_POLICY = "style-src 'unsafe-inline'; img-src data:; media-src data:"


def document(title: str, body: str, *, style: str = "", script: str = "") -> str:
    """A whole page around a body of HTML, with a style beyond the common one and at most one script.

    The policy names the script by its digest (Content Security Policy Level 3, section 2.3.1), so that none
    which came with the data could run.
    """
    policy, element = _POLICY, ""
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy, element = f"{_POLICY}; script-src 'sha256-{digest}'", f"<script>{script}</script>\n"
    style = resource("base.css") + style
    return _PAGE.format(title=escaped(title), body=body, style=style, policy=policy, script=element)


def resource(name: str) -> str:
    """The text of a file of this package."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def escaped(value: object) -> str:
    """Any words as HTML, for an element's content or an attribute in double quotes."""
    return escape(printable(str(value)))


def printable(text: str) -> str:
    """The text without what no page can hold, or what turns others around, which is spelt out.

    These are control characters, lone surrogates, and the marks that change the direction of what follows.
    """
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if character in _TURNING
        or (unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t")
        else character
        for character in text
    )


def data_block(name: str, content: Any) -> str:
    """Data for the page's script, as JSON that no words in it can end: `<` is spelt out."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="{escaped(name)}">{text}</script>'


def shown_score(value: float) -> str:
    """A cosine similarity as it is printed on a page."""
    return f"{value:.3f}"
