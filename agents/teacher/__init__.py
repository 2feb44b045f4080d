"""The teachers: grounded, recorded and large ones, and the checks of what they say."""
