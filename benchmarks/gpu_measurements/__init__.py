"""What benchmarks/gpu.py measures: by name, functions that give the rows of a table, their docstring its title."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .arithmetic import compiled, layers, networks, stages
from .bench import Bench, Row
from .correctness import correctness
from .frames import latency, recording, throughput, transformers
from .machine import machine, memory
from .precision import precision
from .training import training

MEASUREMENTS: dict[str, Callable[[Bench], Iterable[Row]]] = {
    function.__name__: function
    for function in (
        machine,
        correctness,
        latency,
        throughput,
        transformers,
        precision,
        memory,
        stages,
        layers,
        networks,
        recording,
        training,
        compiled,
    )
}
