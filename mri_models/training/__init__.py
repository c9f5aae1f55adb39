"""Training: corpus, recipes, augmentation, fitting, calibration, export. Serving never imports this."""
