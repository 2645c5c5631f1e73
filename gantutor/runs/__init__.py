"""A run on disk: what decides it, its folder, and the loop that the command line drives."""

from gantutor.runs.config import (
    Config,
    contradictions,
    counted,
    deciding,
    filled,
    is_free,
    load_data,
    named,
    record_of,
)
from gantutor.runs.folder import RunFolder, free_folder
from gantutor.runs.loop import Interruptions, go, in_turn
from gantutor.runs.samples import samples_of
from gantutor.runs.start import new, new_folder, saved_at, started

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
    "is_free",
    "load_data",
    "named",
    "new",
    "new_folder",
    "record_of",
    "samples_of",
    "saved_at",
    "started",
]
