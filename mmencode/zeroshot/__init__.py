"""Zero-shot classification by the vectors of labels, and few-shot classification on the same vectors."""

from .bank import Bank as Bank
from .calibration import Calibration as Calibration
from .classifier import Classifier as Classifier
from .contract import LabelSpace as LabelSpace
from .fewshot import Method as Method
from .labels import Duplicates as Duplicates
from .labels import Labels as Labels
from .labels import describe_labels as describe_labels
from .results import Classification as Classification
