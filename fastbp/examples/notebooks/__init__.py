"""Notebooks as scripts: `# %%` begins a cell in VS Code, and in Jupyter with jupytext; Python runs all cells in turn.

================  =========================================================
`xor`             the lecture's formulas by hand, on XOR, beside fastbp
`digits`          from pixels to a confusion matrix
`loops_and_blas`  loops against BLAS on one's own machine
================  =========================================================

Pictures are drawn where matplotlib is installed, and shown by notebooks.
"""
