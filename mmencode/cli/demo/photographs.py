"""The demo's photographs, which scikit-image and scikit-learn install, with labels and sentences for them."""

from __future__ import annotations

from pathlib import Path

from ...plugins.packages import find_package
from ...plugins.spec import IMAGE
from .sections import Collection

INSTALL = "pip install 'mmencode[demo]'"

# Seven everyday things, then four that the default space isn't made for.
_FILES = (
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/motorcycle_left.png"),
    ("skimage", "data/rocket.jpg"),
    ("skimage", "data/camera.png"),
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
    ("skimage", "data/coins.png"),
    ("skimage", "data/page.png"),
    ("skimage", "data/brick.png"),
    ("skimage", "data/astronaut.png"),
)

LABELS = (
    *("cat", "dog", "horse", "bird", "fish", "car", "bicycle", "motorcycle", "airplane", "boat", "train"),
    *("rocket", "cup of coffee", "pizza", "flower", "tree", "palace", "castle", "bridge", "brick wall"),
    *("coins", "clock", "camera on a tripod", "computer", "chair", "beach", "mountain", "astronaut"),
    *("page of text", "guitar"),
)

SENTENCES = (
    "a pet with whiskers",
    "something hot to drink in the morning",
    "a vehicle with two wheels",
    "a launch into space",
    "taking pictures",
    "an old building in Asia",
    "a plant in bloom",
    "something to read",
    "old money",
)


def collection() -> Collection:
    """Find the photographs in the installed packages, without importing these, which would take seconds.

    Raises MissingPackageError for a package that isn't installed.
    """
    paths = [_folder(package) / name for package, name in _FILES]
    return Collection(
        modality=IMAGE,
        noun="photograph",
        origin="Real photographs from the packages scikit-image and scikit-learn. The last four show the "
        "limits of the default space: it knows everyday things, but not coins, print, textures or people.",
        items={path.name: path for path in paths},
        labels=LABELS,
        sentences=SENTENCES,
    )


def _folder(package: str) -> Path:
    spec = find_package(package, f"the demo's photographs come with {package}", INSTALL)
    return Path(str(spec.origin)).parent
