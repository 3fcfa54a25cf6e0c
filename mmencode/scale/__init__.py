"""Sources that no memory holds are embedded unit by unit, and a run that ended goes on where it was."""

from __future__ import annotations

from .actors import ClusterError as ClusterError
from .building import BuildReport as BuildReport
from .building import build_index as build_index
from .duplicates import find_duplicates as find_duplicates
from .embedding import EmbedReport as EmbedReport
from .embedding import embed as embed
from .encoding import UnitReport as UnitReport
from .encoding import encode_unit as encode_unit
from .output import Failure as Failure
from .output import Output as Output
from .output import OutputConflictError as OutputConflictError
from .sources import Sizes as Sizes
from .sources import divide as divide
from .units import File as File
from .units import Job as Job
from .units import Unit as Unit

__all__ = [
    "BuildReport",
    "ClusterError",
    "EmbedReport",
    "Failure",
    "File",
    "Job",
    "Output",
    "OutputConflictError",
    "Sizes",
    "Unit",
    "UnitReport",
    "build_index",
    "divide",
    "embed",
    "encode_unit",
    "find_duplicates",
]
