"""What the built-in families' libraries publish, one file for each, so that listing it imports none of them.

`python -m mmencode.encoders.catalogue` writes the files anew, `--check` compares them with the libraries.
"""
