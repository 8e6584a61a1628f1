"""A fit of fastbp.sklearn's estimators over one of scikit-learn's, with default parameters."""

from fastbp.examples.drop_in import SMALL, measure

SEEDS, EPOCHS = 5, 100


class OverScikitLearn:
    """The median over seeds of the time of a fit of at most 100 epochs over scikit-learn's, in turn in one process.

    Both on as many threads as they take of themselves; kernels are compiled before.
    """

    params = tuple(SMALL)
    param_names = ("data",)
    unit = "times scikit-learn's time"

    def track_fit(self, data: str) -> float:
        return float(f"{1 / measure(data, SEEDS, max_iter=EPOCHS).speedup:.3g}")
