# %% [markdown]
# # Backpropagation by hand, on XOR
#
# A network 2-3-1 learns the exclusive or. Every line below is a line of the lecture, for one sample x with target d:
#
# | | |
# |---|---|
# | forward | h_0 = x;  a_k = W_k h_{k-1} + b_k;  h_k = g_k(a_k);  y = h_L |
# | loss | E = ½ ‖y - d‖²;  e_L = ∇_y E = y - d |
# | backward | δ_k = e_k ⊙ g'_k(a_k);  e_{k-1} = W_kᵀ δ_k |
# | gradient | ∂E/∂b_k = δ_k;  ∂E/∂W_k = δ_k h_{k-1}ᵀ |
# | step | W ← W - γ ∂E/∂W;  b ← b - γ ∂E/∂b |
#
# Then fastbp does the same, and the numbers are compared.
#
#     python -m fastbp.examples.notebooks.xor

# %%
import numpy as np

import fastbp

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
D = np.array([[0.0], [1.0], [1.0], [0.0]])

# %% [markdown]
# The weights of both are the same: copies of those that fastbp draws. The hidden layer has tanh, the last one logistic.

# %%
net = fastbp.MLP([2, 3, 1], activation=["tanh", "logistic"], loss="squared_error", dtype="float64", seed=3,
                 backend="loops")
(W_1, W_2), (b_1, b_2) = [W.copy() for W in net.weights], [b.copy() for b in net.biases]

# %% [markdown]
# ## One sample forward
#
# tanh' = 1 - tanh², and logistic' = h (1 - h): both derivatives are functions of h.

# %%
x, d = X[1], D[1]

h_0 = x
a_1 = W_1 @ h_0 + b_1
h_1 = np.tanh(a_1)
a_2 = W_2 @ h_1 + b_2
h_2 = 1 / (1 + np.exp(-a_2))
y = h_2
E = 0.5 * np.sum((y - d) ** 2)
print("y =", y, " E =", E)

# %% [markdown]
# ## And back
#
# The error e goes from the loss to the input. δ_k is what is left of it before the activation, and each weight's share
# is δ of the unit that it leads to, times h of the unit that it comes from.

# %%
e_2 = y - d
delta_2 = e_2 * h_2 * (1 - h_2)
dE_db_2 = delta_2
dE_dW_2 = np.outer(delta_2, h_1)
e_1 = W_2.T @ delta_2
delta_1 = e_1 * (1 - h_1**2)
dE_db_1 = delta_1
dE_dW_1 = np.outer(delta_1, h_0)
e_0 = W_1.T @ delta_1
print("∂E/∂W_1 =", dE_dW_1, "e_0 = ∇_x E =", e_0, sep="\n")

# %% [markdown]
# ## fastbp's numbers
#
# `net.grad` holds ∂E/∂W_1, ∂E/∂b_1, ∂E/∂W_2, ∂E/∂b_2 one after another, as `net.theta` holds the parameters.
# `net.trace` shows every quantity by its name.

# %%
by_hand = np.concatenate([dE_dW_1.ravel(), dE_db_1, dE_dW_2.ravel(), dE_db_2])
E_of_fastbp = net.accumulate_gradient(X[1:2], D[1:2])
differences = {"E": abs(E - E_of_fastbp), "y": np.abs(y - net.forward(X[1:2])[0]).max(),
               "gradient": np.abs(by_hand - net.grad).max(),
               "e_0": np.abs(e_0 - net.input_gradient(X[1:2], D[1:2])[0]).max()}
net.zero_grad()
print("differences:", {name: float(value) for name, value in differences.items()})
print(net.trace(x, d))

# %% [markdown]
# ## Training
#
# E of a batch is the sum over its samples, and so is its gradient: one sample after another is added to it. Then comes
# one step. fastbp takes the same steps, by `accumulate_gradient` and `step`.

# %%
gamma, steps = 2.0, 400
curve = []
for _ in range(steps):
    E = 0.0
    dE_dW_1, dE_db_1, dE_dW_2, dE_db_2 = (np.zeros_like(values) for values in (W_1, b_1, W_2, b_2))
    for x, d in zip(X, D, strict=True):
        h_0 = x
        h_1 = np.tanh(W_1 @ h_0 + b_1)
        h_2 = 1 / (1 + np.exp(-(W_2 @ h_1 + b_2)))
        E += 0.5 * np.sum((h_2 - d) ** 2)
        delta_2 = (h_2 - d) * h_2 * (1 - h_2)
        delta_1 = (W_2.T @ delta_2) * (1 - h_1**2)
        dE_dW_2 += np.outer(delta_2, h_1)
        dE_db_2 += delta_2
        dE_dW_1 += np.outer(delta_1, h_0)
        dE_db_1 += delta_1
    W_1 -= gamma * dE_dW_1
    b_1 -= gamma * dE_db_1
    W_2 -= gamma * dE_dW_2
    b_2 -= gamma * dE_db_2
    curve.append(E)

    net.accumulate_gradient(X, D)
    net.step(gamma)

trained = np.concatenate([W_1.ravel(), b_1, W_2.ravel(), b_2])
differences["parameters"] = np.abs(trained - net.theta).max()
outputs = net.forward(X)
print(f"after {steps} steps: E = {curve[-1]:.4f}, parameters differ by {differences['parameters']:.1g}")
for x, y in zip(X, outputs, strict=True):
    print(f"{x[0]:.0f} xor {x[1]:.0f} = {y[0]:.3f}")

# %% [markdown]
# ## The curve

# %%
try:
    import matplotlib.pyplot as plt
except ImportError:
    print("no picture: pip install 'fastbp[plot]'")
else:
    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    axes.semilogy(curve)
    axes.set_xlabel("step")
    axes.set_ylabel("E, summed over the four samples")
    axes.set_title("XOR, by hand and by fastbp")
