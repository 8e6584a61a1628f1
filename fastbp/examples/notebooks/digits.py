# %% [markdown]
# # From pixels to a confusion matrix
#
# 1,797 handwritten digits of 8 × 8 pixels, which scikit-learn brings along, are read by a network 64-100-10. The way of
# every classification: look at the data, split them, train, look at the curves, test once, and look at the errors.
#
#     pip install 'fastbp[train]'
#     python -m fastbp.examples.notebooks.digits

# %%
from importlib.util import find_spec

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import ConfusionMatrixDisplay, classification_report, confusion_matrix
from sklearn.model_selection import train_test_split

import fastbp

with_pictures = find_spec("matplotlib") is not None
if with_pictures:
    import matplotlib.pyplot as plt

# %% [markdown]
# ## The pixels
#
# A row of X is a picture, row after row of its pixels, from 0 (white) to 16. The label is the digit.

# %%
X, d = load_digits(return_X_y=True)
print(X.shape, "samples and pixels;", np.bincount(d), "of each digit")
print("\n".join("".join(" .:-=+*#%@"[int(pixel * 9 / 16)] * 2 for pixel in line) for line in X[4].reshape(8, 8)))
if with_pictures:
    figure, panels = plt.subplots(2, 10, figsize=(8, 2), layout="constrained")
    for axes, pixels, label in zip(panels.flat, X, d, strict=False):
        axes.imshow(pixels.reshape(8, 8), cmap="gray_r")
        axes.set_title(label, fontsize=9)
        axes.axis("off")

# %% [markdown]
# ## Training, validation and test
#
# The test samples wait until all is decided. Those of the validation say when the training has gone far enough.

# %%
X_rest, X_test, d_rest, d_test = train_test_split(X, d, test_size=360, stratify=d, random_state=0)
X_train, X_val, d_train, d_val = train_test_split(X_rest, d_rest, test_size=240, stratify=d_rest, random_state=0)

net = fastbp.MLP([64, 100, 10], activation="relu", loss="softmax_cross_entropy", seed=0)
net.standardize(X_train)  # (x - μ) / σ of every pixel belongs to the network
history = net.fit(X_train, d_train, optimizer=fastbp.Adam(0.002), epochs=25, batch_size=32,
                  validation_data=(X_val, d_val), progress=False)
print(f"loss {history['loss'][0]:.3f} → {history['loss'][-1]:.3f}, "
      f"accuracy of the validation {history['validation_accuracy'][-1]:.3f}")
if with_pictures:
    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    axes.semilogy(history["loss"], label="training")
    axes.semilogy(history["validation_loss"], label="validation")
    axes.set_xlabel("epoch")
    axes.set_ylabel("mean loss of a sample")
    axes.legend()

# %% [markdown]
# ## The test
#
# The outputs y are logits. The largest of the ten says which digit it is, and softmax makes probabilities of them.

# %%
logits = net.forward(X_test)
found = logits.argmax(axis=1)
accuracy = float(np.mean(found == d_test))
print(f"accuracy of the test {accuracy:.3f}")
print(classification_report(d_test, found, digits=3))

# %% [markdown]
# ## The confusion matrix
#
# A row for each digit that was written, a column for each that was read. What is beside the diagonal is wrong.

# %%
matrix = confusion_matrix(d_test, found)
print(matrix)
if with_pictures:
    ConfusionMatrixDisplay(matrix).plot(cmap="Blues", colorbar=False)

# %% [markdown]
# ## The errors
#
# How sure was the network where it was wrong?

# %%
exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
wrong = np.flatnonzero(found != d_test)
for s in wrong:
    print(f"a {d_test[s]} read as {found[s]}, with p = {probabilities[s, found[s]]:.2f}, "
          f"and p = {probabilities[s, d_test[s]]:.2f} of what it was")
if with_pictures and wrong.size:
    figure, panels = plt.subplots(1, wrong.size, figsize=(1.2 * wrong.size, 1.5), squeeze=False, layout="constrained")
    for axes, s in zip(panels.flat, wrong, strict=True):
        axes.imshow(X_test[s].reshape(8, 8), cmap="gray_r")
        axes.set_title(f"{d_test[s]} as {found[s]}", fontsize=9)
        axes.axis("off")
