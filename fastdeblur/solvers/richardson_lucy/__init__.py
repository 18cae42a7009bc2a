"""Richardson–Lucy for photon noise."""
