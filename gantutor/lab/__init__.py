"""The live panel: training that can be watched and changed while it runs. The only place that knows widgets."""

from gantutor.experiment import Experiment
from gantutor.lab.panel import Lab

__all__ = ["Experiment", "Lab"]
