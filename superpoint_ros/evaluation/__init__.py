"""Measures keypoint detectors on image pairs with known geometry; docs/evaluation.md states the protocol."""
