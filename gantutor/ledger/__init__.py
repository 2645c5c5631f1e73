"""Evidence about a training step: what each line did, what the step costs, and which steps are the same."""

from gantutor.ledger.activations import activations
from gantutor.ledger.compare import Comparison, Difference, compare
from gantutor.ledger.cost import Cost, cost
from gantutor.ledger.meter import NetworkCost
from gantutor.ledger.records import (
    ALIVE,
    FREED,
    NO_GRAPH,
    STALE,
    BatchNormState,
    Contribution,
    Line,
    Link,
    NetworkState,
    TensorState,
    Trace,
)
from gantutor.ledger.trace import trace
from gantutor.ledger.traffic import Traffic, TrafficShare, seconds_by_kind, traffic

__all__ = [
    "ALIVE",
    "FREED",
    "NO_GRAPH",
    "STALE",
    "BatchNormState",
    "Comparison",
    "Contribution",
    "Cost",
    "Difference",
    "Line",
    "Link",
    "NetworkCost",
    "NetworkState",
    "TensorState",
    "Trace",
    "Traffic",
    "TrafficShare",
    "activations",
    "compare",
    "cost",
    "seconds_by_kind",
    "trace",
    "traffic",
]
