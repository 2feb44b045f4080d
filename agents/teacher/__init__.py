"""The teachers: grounded, recorded and large ones, and the checks of their statements."""
