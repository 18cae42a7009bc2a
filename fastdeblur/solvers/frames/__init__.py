"""Several frames of one scene: one estimate for all."""
