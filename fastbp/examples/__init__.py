"""Programs of a few seconds that show what fastbp is for: ``python -m fastbp.examples.cart_pole``, and the others.

=================  ==========================================================
`cart_pole`        trains a policy inside a compiled cart-pole loop
`ensemble`         uncertainty bands, from a hundred networks
`pendulum`         a surrogate in an ODE integration
`contrastive`      a loss over all pairs of a batch
`adjoint`          a network inside an ODE, trained on where paths end
`layers`           a network as a layer of PyTorch or JAX
`lbfgs`            SciPy's optimizer on theta
`clipped_steps`    the clipping of differentially private training
`drop_in`          times and scores beside scikit-learn's
=================  ==========================================================

`notebooks` has scripts that open as notebooks too: the formulas by hand, digits from pixels to a confusion matrix, and
loops against BLAS.
"""
