"""The live panel, the step debugger and the canvas to paint on. The only place that knows widgets."""

from gantutor.lab.debugger import Debugger
from gantutor.lab.paint import Paint
from gantutor.lab.panel import Lab

__all__ = ["Debugger", "Lab", "Paint"]
