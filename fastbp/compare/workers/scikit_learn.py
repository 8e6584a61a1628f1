"""scikit-learn: MLPClassifier or MLPRegressor, `fit` for a number of epochs that nothing ends early."""

import warnings
from itertools import pairwise
from typing import Any

VARIANTS = ("fit(warm_start=True)",)

#: Adam's ε, which scikit-learn adds to √v and the formulas to √(v / (1 - 0.999^t)): so both are one in the first step.
#: With 10^-8 the change of a layer of 28-300-300-300-1 was off by 8 % after three steps.
EPSILON = 1e-8 * (1 - 0.999) ** 0.5


class Trainer:
    """`fit` from given parameters, which is what warm_start is for."""

    def __init__(self, problem: Any, variant: str) -> None:
        from sklearn.neural_network import MLPClassifier, MLPRegressor

        self.problem, self.variant = problem, f"{variant}, shuffle={problem.shuffle}, alpha=0"
        outputs = problem.widths[-1]
        self.classifies = problem.loss != "squared_error"
        if problem.loss == "softmax_cross_entropy" and outputs < 3:
            raise ValueError("for two classes MLPClassifier has one output, not two")
        self.classes = range(max(outputs, 2))
        self.d = problem.d[:, 0] if problem.d.ndim == 2 and outputs == 1 else problem.d
        self.model = (MLPClassifier if self.classifies else MLPRegressor)(
            hidden_layer_sizes=problem.widths[1:-1], activation=problem.activation, solver=problem.optimizer, alpha=0.0,
            batch_size=problem.batch_size, learning_rate_init=problem.learning_rate, shuffle=problem.shuffle,
            momentum=0.0, epsilon=EPSILON, tol=0.0, n_iter_no_change=10**9)
        self._go_through(problem.X[:1], self.d[:1])  # makes its arrays

    def _go_through(self, X: Any, d: Any) -> None:
        """One epoch by `partial_fit`, which takes the same steps as `fit` but does not need every class among them."""
        self.model.warm_start = False  # with it, scikit-learn wants every class here too
        if self.classifies:
            self.model.partial_fit(X, d, classes=self.classes)
        else:
            self.model.partial_fit(X, d)

    def reset(self) -> None:
        """The initial parameters, and a new optimizer."""
        start = 0
        for k, (n_in, n_out) in enumerate(pairwise(self.problem.widths)):
            W = self.problem.theta[start : start + n_out * n_in].reshape(n_out, n_in)
            self.model.coefs_[k] = W.T.copy()
            self.model.intercepts_[k] = self.problem.theta[start + n_out * n_in : start + n_out * (n_in + 1)].copy()
            start += n_out * (n_in + 1)
        if hasattr(self.model, "_optimizer"):
            del self.model._optimizer  # holds the parameters that were replaced

    def train(self, epochs: int) -> None:
        """Train for `epochs` epochs."""
        if self.classifies and self.d.ndim == 1 and len(set(self.d.tolist())) < len(self.classes):
            for _ in range(epochs):
                self._go_through(self.problem.X, self.d)
            return
        self.model.warm_start, self.model.max_iter = True, epochs
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged
            self.model.fit(self.problem.X, self.d)

    def result(self) -> Any:
        """The parameters."""
        import numpy as np

        layers = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        return np.concatenate([part for W, b in layers for part in (W.T.ravel(), b)])


def versions(options: Any) -> dict[str, str]:
    """scikit-learn's and NumPy's."""
    import numpy
    import sklearn

    return {"scikit-learn": sklearn.__version__, "numpy": numpy.__version__}
