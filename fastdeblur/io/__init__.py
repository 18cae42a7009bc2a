"""File formats and their metadata: what a file says, and writing it back.  Imports validation and transfer only."""
