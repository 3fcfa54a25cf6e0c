"""The hook that a plugin implements; its docstring is a complete plugin."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from .spec import EncoderSpec

PROJECT = "mmencode"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


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
