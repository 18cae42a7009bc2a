"""What lies outside the frame.

Only ``constant`` (zeros, TensorFlow's SAME padding) is built so far: its halo is never written
and its adjoint folds nothing back.  Every other boundary will add a fill and a fold here.
"""

from __future__ import annotations

BOUNDARIES = ("constant",)
