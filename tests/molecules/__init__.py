"""Somebody's plugin, whole: a modality that mmencode never heard of, and two encoders in one space."""

from collections.abc import Iterator

from mmencode import EncoderSpec, ModalitySpec, hookimpl


@hookimpl
def mmencode_modalities() -> Iterator[ModalitySpec]:
    yield ModalitySpec(
        name="molecule",
        reader="molecules.items:read",
        value="molecules.items:Molecule",
        limits=(("atoms", 100),),
        endings=(".smi", ".smiles"),
        probes="molecules.items:probes",
        preview="molecules.items:preview",
        prompt="a molecule with {label}",
        description="a molecule, as a line of SMILES",
    )


@hookimpl
def mmencode_encoders() -> Iterator[EncoderSpec]:
    for modality, encoder in (("molecule", "Elements"), ("text", "Words")):
        yield EncoderSpec(
            name=f"lab/{modality}",
            modality=modality,
            target=f"molecules.encoders:{encoder}",
            space="lab",
            dim=4,
            bf16_cosine=None,
        )
