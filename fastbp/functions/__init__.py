"""Activations and losses: records that name formulas, compiled for panels of samples."""
