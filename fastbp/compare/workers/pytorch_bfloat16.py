"""PyTorch in bfloat16, as its documentation has networks trained: `torch.autocast("cpu", dtype=torch.bfloat16)`.

Forward pass and loss are inside, the backward pass and the update outside. Factors of products are in bfloat16, and so
are the activations between them; parameters, their gradients, averages and the loss are in float32. A GradScaler is for
float16, whose least numbers are larger. The steps are those of the files beside this one, eager and compiled.
"""

import importlib.util
from pathlib import Path
from typing import Any

#: The file beside this one, and its variant.
STEPS = {"eager steps, foreach": ("pytorch_eager.py", "foreach"), "eager steps, fused": ("pytorch_eager.py", "fused"),
         "compiled steps": ("pytorch_compiled.py", "torch.compile(fullgraph=True)")}

VARIANTS = tuple(STEPS)


class Trainer:
    """The steps with another loss."""

    def __init__(self, problem: Any, variant: str) -> None:
        import torch

        file, way = STEPS[variant]
        self.steps = _beside(file).Trainer(problem, way)
        self.steps.loss = torch.autocast("cpu", dtype=torch.bfloat16)(self.steps.loss)
        self.variant = f"{variant}, autocast to bfloat16"

    def reset(self) -> None:
        """The initial parameters, and averages of zero."""
        self.steps.reset()

    def train(self, epochs: int) -> None:
        """Train for `epochs` epochs."""
        self.steps.train(epochs)

    def result(self) -> Any:
        """The parameters."""
        return self.steps.result()


def versions(options: Any) -> dict[str, str]:
    """PyTorch's."""
    found: dict[str, str] = _beside("pytorch_eager.py").versions(options)
    return found


def _beside(file: str) -> Any:
    """The module in a file of this folder, from which nothing is imported."""
    spec: Any = importlib.util.spec_from_file_location(Path(file).stem, Path(__file__).with_name(file))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
