"""The table of workloads: what it has, and samples that fit. No test looks at a time."""

import numpy as np
import pytest

import fastbp
from fastbp.compare.workloads import FASHION, GPU_WORKLOADS, WORKLOADS, Workload, workloads_named

SMALL = [Workload("classes", (3, 5, 4), "relu", "softmax_cross_entropy", 4, "adam", 3),
         Workload("quantities", (2, 6, 3, 1), "tanh", "squared_error", 1, "sgd", 8),
         Workload("bits", (2, 3, 2), "tanh", "binary_cross_entropy", 4, "sgd", 8)]


def test_workloads_are_those_of_the_design():
    classes, values, bits = "softmax_cross_entropy", "squared_error", "binary_cross_entropy"
    assert {workload.name: (workload.widths, workload.activation, workload.loss, workload.batch_size,
                            workload.optimizer, workload.samples) for workload in WORKLOADS} == {
        "online": ((2, 8, 1), "tanh", values, 1, "sgd", 2048),
        "tiny": ((2, 16, 1), "tanh", values, 32, "sgd", 2048),
        "matexp": ((4, 32, 16, 4), "tanh", values, 10_000, "adam", 10_000),
        "tabular-32": ((8, 32, 32, 1), "relu", values, 32, "sgd", 2048),
        "tabular-256": ((8, 32, 32, 1), "relu", values, 256, "sgd", 4096),
        "narrow": ((10, 45, 45, 10), "relu", values, 128, "adam", 2048),
        "digits": ((64, 100, 10), "relu", classes, 64, "sgd", 2048),
        "mnist-1": ((784, 128, 10), "relu", classes, 1, "sgd", 2048),
        "mnist-128": ((784, 128, 10), "relu", classes, 128, "sgd", 2048),
        "mnist-128-adam": ((784, 128, 10), "relu", classes, 128, "adam", 2048),
        "wide": ((784, 512, 512, 10), "relu", classes, 128, "sgd", 2048),
        "wide-adam": ((784, 512, 512, 10), "relu", classes, 128, "adam", 2048),
        "big": ((1024, 2048, 2048, 2048, 10), "relu", classes, 256, "sgd", 1024),
        "otto": ((93, 256, 128, 9), "relu", classes, 256, "adam", 4096),
        "year": ((90, 512, 512, 1), "relu", values, 1024, "adam", 16_384),
        "higgs": ((28, 300, 300, 300, 1), "relu", bits, 1000, "adam", 16_000),
        "actor": ((17, 256, 256, 6), "tanh", values, 256, "adam", 4096),
        "pinn": ((2, 50, 50, 50, 50, 1), "tanh", values, 2000, "adam", 32_000)}


def test_workloads_of_a_gpu():
    assert [workload.name for workload in GPU_WORKLOADS] == ["fused-16384", "fused-262144", "tabular-256", "mnist-128",
                                                             "big", "fashion"]
    for workload in GPU_WORKLOADS[:2]:
        assert (workload.widths, workload.activation, workload.loss, workload.optimizer) == (
            (32, 64, 64, 64, 64, 16), "relu", "squared_error", "sgd")
        assert workload.samples % workload.batch_size == 0
    assert [workload.batch_size for workload in GPU_WORKLOADS] == [2**14, 2**18, 256, 128, 256, 128]
    assert workloads_named(["fused"]) == list(GPU_WORKLOADS[:2])
    assert workloads_named([], GPU_WORKLOADS) == list(GPU_WORKLOADS)


def test_an_epoch_of_fashion_mnist_is_shuffled_and_timed_by_name_alone_on_the_processor():
    assert (FASHION.widths, FASHION.activation, FASHION.loss, FASHION.batch_size, FASHION.optimizer) == (
        (784, 100, 10), "relu", "softmax_cross_entropy", 128, "sgd")
    assert 60_000 - FASHION.batch_size < FASHION.samples == 468 * 128
    assert [workload.name for workload in (*WORKLOADS, *GPU_WORKLOADS) if workload.shuffle] == ["fashion"]
    assert FASHION not in WORKLOADS
    assert workloads_named(["digits", "fashion"])[1:] == [FASHION]


def test_flops_counted_by_hand():
    # 15 + 10 weights, 4 samples: W h and δ hᵀ in both layers, Wᵀ δ in the second only.
    assert Workload("", (3, 5, 2), "relu", "squared_error", 4, "sgd").flops == 2 * (2 * 4 * 25) + 2 * 4 * 10


def test_names_and_groups():
    assert [workload.name for workload in workloads_named(["tabular", "online"])] == ["online", "tabular-32",
                                                                                      "tabular-256"]
    assert [workload.name for workload in workloads_named(["mnist", "wide"])] == ["mnist-1", "mnist-128", "wide"]
    assert workloads_named([]) == list(WORKLOADS)
    with pytest.raises(ValueError, match=r"'mist'.*mnist-128"):
        workloads_named(["mist"])


@pytest.mark.parametrize("workload", [*SMALL, *workloads_named(["digits"])], ids=lambda workload: workload.name)
def test_samples_fit_the_network(workload):
    X, d = workload.draw("float32")
    assert X.dtype == np.float32
    assert len(X) % workload.batch_size == 0
    if workload.loss == "binary_cross_entropy":
        assert (d.shape, d.dtype, set(d.ravel().tolist())) == ((len(X), workload.widths[-1]), np.float32, {0.0, 1.0})
    if workload.loss == "softmax_cross_entropy":
        assert set(d.tolist()) == set(range(workload.widths[-1]))
    np.testing.assert_array_equal(X, workload.draw("float32")[0])
    fastbp.MLP(workload.widths, loss=workload.loss).checked_samples(X, d, None)
