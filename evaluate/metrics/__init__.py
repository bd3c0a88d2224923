"""The scores as pure functions on arrays: one file per kind, no files read, no state (contract, section 1.5).

Every function that aggregates takes `weights` of shape (..., n): how often each of the n rows counts. The result
has the leading shape, so that one call gives a thousand bootstrap draws; without weights every row counts once and
the result is a plain number. NaN stands for "undefined".
"""
