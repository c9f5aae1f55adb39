"""Is the world drifting? Scalars of analysed images against a reference profile. Serving needs numpy and scipy only."""

FOLDER = "drift"  # below weights/; it holds no config.json, because it is no model
