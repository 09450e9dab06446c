"""Logarithm, exponential and power without branches and without libm: the same bits on every machine.

libm's results differ from one version and processor to the next, and a call to it keeps a loop from being
vectorised. Each function here says its largest error in ulp, as measured against arbitrary precision in
tests/kernels/test_fmath.py.
"""

__all__: list[str] = []
