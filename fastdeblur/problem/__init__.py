"""What is minimised: objective, options, start, weights of pixels, and mu found from the image."""
