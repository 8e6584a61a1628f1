"""Drop-ins for scikit-learn's multilayer perceptrons, trained by fastbp.

    from fastbp.sklearn import MLPClassifier      # instead of: from sklearn.neural_network import MLPClassifier

They have the parameters, attributes, methods and checks of scikit-learn's estimators with their meanings. From the same
random state they have the same weights, when nothing is shuffled. Needs scikit-learn: pip install 'fastbp[sklearn]'.

Beyond scikit-learn's they have class weights, validation data of your own, early stopping with `partial_fit`, float32
throughout, more losses and activations, callbacks, and clipping; see `MLPClassifier`. `from_sklearn` takes a fitted
estimator of scikit-learn over, `to_sklearn` gives one back, and `net_` is the network.

With default parameters, ten splits and seeds, on two cores (AMD Zen 5), ``python -m fastbp.examples.drop_in`` gave the
following. Scores are accuracies, for diabetes R².

=========================  =============================  ===================  ===================
data                       scikit-learn's time/fastbp's   score, scikit-learn  score, fastbp
=========================  =============================  ===================  ===================
digits                     5.6                            0.9729 ± 0.0017      0.9731 ± 0.0018
breast cancer              7.9                            0.9734 ± 0.0037      0.9741 ± 0.0036
wine                       8.9                            0.9844 ± 0.0058      0.9844 ± 0.0058
diabetes                   9.9                            0.4146 ± 0.0316      0.4162 ± 0.0308
Fashion-MNIST, 20 epochs   3.2                            0.8840 ± 0.0009      0.8832 ± 0.0008
=========================  =============================  ===================  ===================

On a Zen 4 processor with two slower cores the first four ratios were 4.0, 5.6, 6.8 and 7.9. The first fit of a fresh
installation compiles before it trains; the next process reads kernels from disk.
"""

from ..compiling.interrupts import held_back

with held_back():
    try:
        import sklearn as _scikit_learn  # noqa: F401
    except ImportError as error:
        raise ImportError("fastbp.sklearn needs scikit-learn: pip install 'fastbp[sklearn]'") from error

    from .classifier import MLPClassifier
    from .importing import from_sklearn
    from .regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "from_sklearn"]
