"""Checks of what users pass in, before any kernel runs."""
