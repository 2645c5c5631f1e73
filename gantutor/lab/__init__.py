"""The live panel and the step debugger. The only place that knows widgets."""

from gantutor.experiment import Experiment
from gantutor.lab.debugger import Debugger
from gantutor.lab.panel import Lab

__all__ = ["Debugger", "Experiment", "Lab"]
