"""Factors: compositions of operators from `kernels`, one small function each."""

__all__: list[str] = []
