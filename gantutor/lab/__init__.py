"""The live panel, the step debugger and the canvas to paint on. The only place that knows widgets."""

from gantutor.experiment import CycleGANExperiment, Experiment, Pix2PixExperiment
from gantutor.lab.debugger import Debugger
from gantutor.lab.paint import Paint
from gantutor.lab.panel import Lab

__all__ = ["CycleGANExperiment", "Debugger", "Experiment", "Lab", "Paint", "Pix2PixExperiment"]
