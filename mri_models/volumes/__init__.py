"""Volumes: reading NIfTI and DICOM series, analysing them slice by slice, and masks back in the input's space."""
