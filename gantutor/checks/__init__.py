"""Verdicts on exercises and predictions: they judge what an answer does, never how it is written.

A file for each notebook, and `verdict` for what they share.
"""

from gantutor.checks.gan_objective import g_loss, jsd_from_d_loss, keras_batchnorm, optimal_D
from gantutor.checks.start_here import image_range, who_moves
from gantutor.checks.verdict import NOT_YET, Verdict, expect_error, prediction

__all__ = [
    "NOT_YET",
    "Verdict",
    "expect_error",
    "g_loss",
    "image_range",
    "jsd_from_d_loss",
    "keras_batchnorm",
    "optimal_D",
    "prediction",
    "who_moves",
]
