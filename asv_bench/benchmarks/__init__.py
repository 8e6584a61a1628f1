"""Benchmarks of fastbp, run by asv."""
