"""Beside every function that is called by its address stands one that calls it: with all it takes, in its order."""

import inspect
import sys

import pytest

import fastbp.backends.tiled
import fastbp.compare.kernels.tiled
import fastbp.jit  # noqa: F401
from fastbp.backends import conversion, entries
from fastbp.backends.tiles import (
    ceiling,
    clipping,
    crew,
    curvature,
    double_backprop,
    lane_gradient,
    magnitude,
    normal_equations,
    outcomes,
    packing,
    pair_phases,
    pair_product,
    pairs,
    phases,
    product,
    rounding,
    row_products,
    sums,
    transpose,
)
from fastbp.formulas import dropout
from fastbp.functions import activations, losses, second
from fastbp.optimizers import blocks, rules, updates

F = "float32"
TWINS = [
    (product.affine_product(F, True, 8), product.affine),
    (packing.columns_product(F), product.affine),
    (product.gradient_tile(F, 2), product.add_gradient_tile),
    (pair_product.pair_affine_product(F, True, pairs.EMULATED_PAIRS), pair_product.pair_affine),
    (pair_phases.propagate_share(F), phases.run_share),
    (rounding.pair_units(F, pairs.EMULATED_PAIRS), rounding.pair_all_units),
    (rounding.pair_samples(F, pairs.EMULATED_PAIRS), rounding.pair_all_samples),
    (rounding.pair_rows(F, pairs.EMULATED_PAIRS), rounding.pair_all_rows),
    (lane_gradient.lane_gradient(F), lane_gradient.add_lane_gradient),
    (transpose.transpose_block(F, True), transpose.transpose),
    (transpose.transpose_narrow(F), transpose.transpose_columns),
    (row_products.dot_rows(F), row_products.affine_row),
    (row_products.combine_rows(F), row_products.transposed_product),
    (row_products.add_outer(F), row_products.add_outer_product),
    (sums.add_row_sums(F), sums.add_sums),
    (magnitude.note_largest(F), magnitude.raise_to_largest),
    (outcomes.keep_outcomes(F), outcomes.copy_outcomes),
    (clipping.clip_panel(F), clipping.clip_gradients),
    (ceiling.multiply_adds(F), ceiling.run_chains),
    (phases.propagate_share(F), phases.run_share),
    (phases.gradient_share(F), phases.run_share),
    (phases.update_share(F), phases.run_share),
    (blocks.update_block(rules.ADAM, F), blocks.update_parameters),
    (blocks.bounds_after(rules.ADAM), blocks.advance_bounds),
    (crew.chunks_share(F), phases.run_share),
    (crew.partials_share(F), phases.run_share),
    (activations.apply_panel(activations.ACTIVATIONS[0], F, 8), activations.activate_panel),
    (activations.delta_panel(activations.ACTIVATIONS[0], F, 8), activations.delta_of_panel),
    (curvature.propagate_changes_share(F), curvature.run_share_of),
    (curvature.gradient_changes_share(F), curvature.run_share_of),
    (double_backprop.propagate_share(F), curvature.run_share_of),
    (double_backprop.gradient_share(F), curvature.run_share_of),
    (second.add_second_panel(activations.BY_NAME["tanh"], F, 8), second.add_second_of_panel),
    (second.second_panel(losses.LOSSES[0], F, 8), second.second_of_panel),
    (conversion.row_reader(F, "uint8", True), conversion.read_rows),
    (transpose.gather_block(F, "uint8"), transpose.gather_converted),
    (entries.csr_reader(F, "uint8", "int32", False), conversion.read_rows),
    (entries.affine_entries(F, "float64", "int32", True), entries.affine_of_entries),
    (entries.affine_from_transpose(F, "float64", "int64", False), entries.affine_of_entries),
    (entries.add_entries(F, "float64", "int32", True), entries.add_gradient_of_entries),
    (entries.add_to_transpose(F, "float64", "int32", False), entries.add_transposed_gradient),
    (losses.evaluate_panel(losses.LOSSES[0], F, 8), losses.loss_of_panel),
    (losses.curvature_panel(losses.LOSSES[0], F, 8), losses.curvature_of_panel),
    (normal_equations.weigh_panel(F), normal_equations.weigh),
    (normal_equations.outer_panel(F), normal_equations.outer_products),
    (normal_equations.rows_of_panel(F), normal_equations.transpose_panel),
    (normal_equations.rows_share(F), phases.run_share),
    (normal_equations.product_share(F), phases.run_share),
    (dropout.drop_panel(F, 8), dropout.drop_of_panel),
    (rules.row_of(rules.ADAM), rules.write_numbers),
    (updates.update_share(rules.ADAM, F), updates.run_share),
]


@pytest.mark.parametrize(("made", "twin"), TWINS, ids=lambda given: getattr(given, "__name__", ""))
def test_a_twin_hands_on_what_the_function_takes(made, twin, monkeypatch):
    function, types = made
    taken = list(inspect.signature(function).parameters)
    assert len(types) == len(taken)
    found = []
    monkeypatch.setattr(sys.modules[twin.__module__], "invoke", lambda *given: found.append(given))
    twin("address", *taken)
    assert found == [("address", tuple(taken))]
    assert list(inspect.signature(twin).parameters)[1:] == taken


def test_nothing_else_calls_by_address():
    """But one-sample steps, which take a batch apart."""
    twins, found = {twin for _, twin in TWINS}, set()
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "fastbp":
            functions = (getattr(value, "py_func", value) for value in vars(module).values())
            found |= {value for value in functions if inspect.isfunction(value) and value.__module__ == name
                      and "invoke" in value.__code__.co_names}
    assert {function.__name__ for function in found - twins} == {"take_steps"}
