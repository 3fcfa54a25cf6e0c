"""The hooks that a plugin implements; each docstring is a complete plugin."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from .modality import ModalitySpec
from .spec import EncoderSpec

PROJECT = "mmencode"
hookspec: pluggy.HookspecMarker = pluggy.HookspecMarker(PROJECT)
hookimpl: pluggy.HookimplMarker = pluggy.HookimplMarker(PROJECT)


class Hooks:
    """The hooks that mmencode calls in its plugins."""

    @hookspec
    def mmencode_encoders(self) -> Iterable[EncoderSpec]:
        """Declare the plugin's encoders without importing anything heavy, since the target is a string.

        In `colours/__init__.py`:

            from mmencode import EncoderSpec, hookimpl

            @hookimpl
            def mmencode_encoders():
                yield EncoderSpec(name="colours", modality="image", target="colours.encoder:Colours", dim=3)

        In `colours/encoder.py`:

            import torch
            from torchvision.transforms.v2.functional import pil_to_tensor
            from mmencode import Encoder

            class Colours(Encoder):
                width = 3
                preprocessing = "RGB, mean over all pixels, 0 to 1"

                def preprocess(self, item):                # item: a PIL image, RGB
                    return {"colour": pil_to_tensor(item).float().mean(dim=(1, 2)) / 255}

                def forward(self, tensors):                # [b, 3]
                    return tensors["colour"]

        In `pyproject.toml`:

            [project.entry-points.mmencode]
            colours = "colours"
        """
        raise NotImplementedError

    @hookspec
    def mmencode_modalities(self) -> Iterable[ModalitySpec]:
        """Declare kinds of items beside text, image and audio, whose encoders any plugin may declare.

        In `molecules/__init__.py`:

            from mmencode import ModalitySpec, hookimpl

            @hookimpl
            def mmencode_modalities():
                yield ModalitySpec(
                    name="molecule",
                    reader="molecules.items:read",
                    limits=(("atoms", 1000),),
                    endings=(".smi",),
                    probes="molecules.items:probes",
                )

        In `molecules/items.py`:

            from mmencode.errors import InputError
            from mmencode.inputs import read_bytes

            def read(item, limits):                        # item: a path, bytes or a binary file
                line = read_bytes(item, limits).decode("ascii", "replace").strip()
                if not line or len(line) > limits.declared["molecule.atoms"]:
                    raise InputError("no molecule, or a large one", source="", remedy="leave it out")
                return line

            def probes():
                return [b"CCO", b"c1ccccc1", b"CC(=O)O"]
        """
        raise NotImplementedError
