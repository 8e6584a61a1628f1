"""Training: `fit`, `fit_many`, callbacks and histories, over slices of compiled code."""

from .fitting import fit

__all__ = ["fit"]
