"""Training: what goes on between the network and whoever trains it, slice after slice of compiled code."""

from .fitting import fit

__all__ = ["fit"]
