"""The command `fastdeblur`: flags, psf specs, plots.  May import everything."""
