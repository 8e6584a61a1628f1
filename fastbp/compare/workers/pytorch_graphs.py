"""PyTorch's steps captured in CUDA graphs and replayed, so that Python starts a graph and not each of its kernels.

The steps are those of the files beside this one, eager and compiled. X and d lie on the GPU and every batch at an
address of its own, so that a graph takes the steps of many batches, one after the other, and copies none of them.
Shuffled, it gathers the rows of each batch through the order, which lies in one place and is drawn anew before the
graphs of an epoch are replayed.
"""

import importlib.util
from pathlib import Path
from typing import Any

#: The file beside this one, and its variant.
STEPS = {"eager steps, foreach": ("pytorch_eager.py", "foreach"), "eager steps, fused": ("pytorch_eager.py", "fused"),
         "compiled steps": ("pytorch_compiled.py", "torch.compile(fullgraph=True)")}

VARIANTS = tuple(STEPS)

#: In a graph at the most: a step is some 20 kernels.
MOST_STEPS = 64

#: Before capturing, as PyTorch's documentation asks for: what is compiled or allocated late must be there already.
STEPS_BEFORE = 3


class Trainer:
    """Graphs of an epoch, captured by the first training."""

    def __init__(self, problem: Any, variant: str) -> None:
        file, way = STEPS[variant]
        self.steps = _beside(file).Trainer(problem._replace(options={**problem.options, "captured": True}), way)
        self.variant = variant + self.steps.variant.removeprefix(way)
        self.graphs: list[Any] = []

    def reset(self) -> None:
        """The initial parameters, and averages of zero."""
        self.steps.reset()

    def train(self, epochs: int) -> None:
        """Train for `epochs` epochs."""
        if not self.graphs:
            self._capture()
            self.steps.reset()  # the steps before were real ones
        for _ in range(epochs):
            self.steps.draw()
            for graph in self.graphs:
                graph.replay()
        self.steps.wait()

    def _capture(self) -> None:
        import torch

        batches = self.steps.batches
        other = torch.cuda.Stream()
        other.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(other):
            for _ in range(STEPS_BEFORE):
                self.steps.take(batches[:1])
        torch.cuda.current_stream().wait_stream(other)
        for first in range(0, len(batches), MOST_STEPS):
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self.steps.take(batches[first : first + MOST_STEPS])
            self.graphs.append(graph)

    def result(self) -> Any:
        """The parameters."""
        return self.steps.result()


def versions(options: Any) -> dict[str, str]:
    """PyTorch's, and the GPU's name."""
    found: dict[str, str] = _beside("pytorch_eager.py").versions(options)
    return found


def _beside(file: str) -> Any:
    """The module in a file of this folder, from which nothing is imported."""
    spec: Any = importlib.util.spec_from_file_location(Path(file).stem, Path(__file__).with_name(file))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
