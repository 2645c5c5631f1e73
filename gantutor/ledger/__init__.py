"""Evidence about a training step, anybody's: what each line did, what it costs, and which steps are the same."""

from gantutor.ledger.compare import Comparison, Difference, activations, compare
from gantutor.ledger.cost import Cost, NetworkCost, Traffic, TrafficShare, cost, seconds_by_kind, traffic
from gantutor.ledger.records import (
    ALIVE,
    FREED,
    NO_GRAPH,
    STALE,
    BatchNormState,
    Contribution,
    Finding,
    Line,
    Link,
    NetworkState,
    TensorState,
    Trace,
)
from gantutor.ledger.trace import trace, watching
