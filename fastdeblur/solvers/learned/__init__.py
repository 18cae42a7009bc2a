"""The learned prior: quasi-Newton descent."""
