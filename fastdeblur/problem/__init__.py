"""What is minimised: objective, options, start, weights, mu found from the image.  Imports operators and below."""
