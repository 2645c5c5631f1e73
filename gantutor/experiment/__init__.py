"""Experiments by name: everything that decides a run, in one record. One kind of record for each kind of model."""

from gantutor.experiment.cyclegan import CycleGANExperiment
from gantutor.experiment.gan import Data, Experiment, KStep
from gantutor.experiment.pix2pix import Pix2PixExperiment
from gantutor.experiment.record import Record

__all__ = ["CycleGANExperiment", "Data", "Experiment", "KStep", "Pix2PixExperiment", "Record"]
