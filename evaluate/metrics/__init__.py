"""The scores as pure functions on arrays, one module per kind (contract, section 1.5).

Every function that aggregates takes `weights` of shape (..., n): how often each of the n rows counts. The result
has the leading shape, so one call computes a thousand bootstrap draws. Without weights every row counts once and
the result is a single number. NaN means "undefined".
"""
