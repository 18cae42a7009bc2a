"""Solvers, a package each: `solver` has the driver, `host` and `cuda` its workspace.  Imports problem and below."""
