"""Measuring the models: patient-level metrics, calibration, figures and the tables that the README shows."""
