"""Everything that is compiled for the CPU: `direct` is the convolution, `passes` the two passes of a step."""
