"""The VAE encoders of latent diffusion, by diffusers, as image encoders of mmencode.

Declaring them imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmencode import EncoderSpec, hookimpl

__version__ = "0.1.0"


@hookimpl
def mmencode_encoders() -> Iterator[EncoderSpec]:
    """Declare the family of VAEs that diffusers reads."""
    yield EncoderSpec(
        name="vae/*",
        modality="image",
        target="mmencode_diffusers.vae:encoder",
        requires=("diffusers>=0.35",),
        install="pip install mmencode-diffusers",
        bf16_cosine=None,  # the mean over positions of latents nearly cancels, and so magnifies rounding
        description="latents of AutoencoderKL and AutoencoderTiny: vae/<folder> or vae/<org/repo>, [@size]",
        licence="each checkpoint its own",
        source="https://github.com/huggingface/diffusers",
    )
