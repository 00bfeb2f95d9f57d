"""Brings jobs to where they should be: from what was observed, by way of `domain`, to writes."""
