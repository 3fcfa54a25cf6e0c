"""Classification without training, by the vectors of labels; and from a few examples, on the same vectors."""

from .bank import Bank as Bank
from .calibration import Calibration as Calibration
from .classifier import Classifier as Classifier
from .classifier import Source as Source
from .fewshot import Method as Method
from .labels import Duplicates as Duplicates
from .labels import Labels as Labels
from .labels import described as described
from .results import Classification as Classification
