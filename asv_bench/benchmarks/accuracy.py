"""Whether what is fast still learns: the test error after a fixed budget of training."""

import fastbp

try:
    from sklearn.datasets import load_digits
except ImportError:
    load_digits = None

#: The first so many of 1797 samples are trained on; the others come from other writers.
TRAINED = 1400


class Digits:
    """64-100-10 relu in float32, ten epochs of Adam(0.002) on batches of 64, seeded.

    The error and not the accuracy, because asv takes what is larger for worse.
    """

    params = ("tiled", "loops", "blas")
    param_names = ("backend",)
    unit = "% of the test samples"

    def setup(self, backend: str) -> None:
        if load_digits is None:
            raise NotImplementedError("the digits come with scikit-learn, which is not installed")
        X, self.d = load_digits(return_X_y=True)
        self.X = X / 16.0

    def track_test_error(self, backend: str) -> float:
        net = fastbp.MLP([64, 100, 10], seed=0, backend=backend)
        net.fit(self.X[:TRAINED], self.d[:TRAINED], optimizer=fastbp.Adam(0.002), epochs=10, batch_size=64, seed=0,
                progress=False)
        _, accuracy = net.evaluate(self.X[TRAINED:], self.d[TRAINED:])
        return round(100.0 * (1.0 - accuracy), 2)
