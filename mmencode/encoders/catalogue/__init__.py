"""Catalogues of the checkpoints that timm, open_clip and torchaudio publish, to list them without an import.

`python -m mmencode.encoders.catalogue` writes the files anew, `--check` compares them with the libraries.
"""
