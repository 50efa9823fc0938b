"""Random disturbances of sweeps, and the comparison with an undisturbed sweep; tests use both."""
