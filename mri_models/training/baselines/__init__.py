"""Simpler methods on the same patients: hand-made features, frozen features, networks from scratch; never served."""
