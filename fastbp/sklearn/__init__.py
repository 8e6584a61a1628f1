"""Drop-ins for scikit-learn's multilayer perceptrons, trained by fastbp.

    from fastbp.sklearn import MLPClassifier      # instead of: from sklearn.neural_network import MLPClassifier

They have the parameters, attributes and methods of scikit-learn's estimators with their meanings, and some more; see
`MLPClassifier`. Needs scikit-learn: pip install 'fastbp[sklearn]'.
"""

try:
    import sklearn as _scikit_learn  # noqa: F401
except ImportError as error:
    raise ImportError("fastbp.sklearn needs scikit-learn: pip install 'fastbp[sklearn]'") from error

from .classifier import MLPClassifier
from .importing import from_sklearn
from .regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "from_sklearn"]
