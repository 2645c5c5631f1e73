"""A run on disk: what decides it, its folder, and the loop that the command line drives."""

from gantutor.runs.config import Config, contradictions, counted, deciding, filled, load_data, named, record_of
from gantutor.runs.folder import RunFolder, free_folder
from gantutor.runs.loop import Interruptions, go, in_turn
from gantutor.runs.samples import samples_of

__all__ = [
    "Config",
    "Interruptions",
    "RunFolder",
    "contradictions",
    "counted",
    "deciding",
    "filled",
    "free_folder",
    "go",
    "in_turn",
    "load_data",
    "named",
    "record_of",
    "samples_of",
]
