"""Scores of what a generator makes."""

from gantutor.metrics.judge import Judge, classes_covered, frechet_distance, train_judge
from gantutor.metrics.modes import modes_covered
from gantutor.metrics.probe import auc, probe_auc
from gantutor.metrics.segmentation import SegmentationScore, Segmenter, segmentation_score, train_segmenter
from gantutor.metrics.similarity import l1, ssim

__all__ = [
    "Judge",
    "SegmentationScore",
    "Segmenter",
    "auc",
    "classes_covered",
    "frechet_distance",
    "l1",
    "modes_covered",
    "probe_auc",
    "segmentation_score",
    "ssim",
    "train_judge",
    "train_segmenter",
]
