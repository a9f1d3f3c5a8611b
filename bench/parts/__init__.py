"""The parts of the measurements, one module each; each has `run`, whose docstring says what it measures."""
