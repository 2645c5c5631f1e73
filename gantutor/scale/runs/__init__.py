"""A run on disk: what decides it, its folder, and the loop that the command line drives."""

from gantutor.scale.runs.folder import RunFolder, free_folder
from gantutor.scale.runs.loop import Interruptions, go, in_turn
from gantutor.scale.runs.run_config import (
    RunConfig,
    build_config,
    contradictions,
    fill_config,
    fixed_fields,
    image_counts,
    is_changeable,
    load_data,
    resolve_data_name,
)
from gantutor.scale.runs.samples import samples_of
from gantutor.scale.runs.start import new_config, new_folder, resume_config, saved_at

__all__ = [
    "Interruptions",
    "RunConfig",
    "RunFolder",
    "build_config",
    "contradictions",
    "fill_config",
    "fixed_fields",
    "free_folder",
    "go",
    "image_counts",
    "in_turn",
    "is_changeable",
    "load_data",
    "new_config",
    "new_folder",
    "resolve_data_name",
    "resume_config",
    "samples_of",
    "saved_at",
]
