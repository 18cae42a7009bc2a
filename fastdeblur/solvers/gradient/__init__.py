"""Gradient descent and its optimisers, as in the notebook, in two fused passes a step."""
