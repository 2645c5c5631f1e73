"""Scores of what a generator makes."""

from gantutor.metrics.judge import Judge, classes_covered, frechet_distance, js_divergence, modes_covered, train_judge
from gantutor.metrics.seeds import SeedRow, run_failed, seed_rows, select, sign_test
from gantutor.metrics.segmentation import SegmentationScore, Segmenter, segmentation_score, train_segmenter
from gantutor.metrics.similarity import flat_areas, hue_shift, l1, saturation, shading, sharpness

__all__ = [
    "Judge",
    "SeedRow",
    "SegmentationScore",
    "Segmenter",
    "classes_covered",
    "flat_areas",
    "frechet_distance",
    "hue_shift",
    "js_divergence",
    "l1",
    "modes_covered",
    "run_failed",
    "saturation",
    "seed_rows",
    "segmentation_score",
    "select",
    "shading",
    "sharpness",
    "sign_test",
    "train_judge",
    "train_segmenter",
]
