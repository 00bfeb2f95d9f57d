"""Rendered traffic with exact ground truth: test data that needs no download and no labelling."""
