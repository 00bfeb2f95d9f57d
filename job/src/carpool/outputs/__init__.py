"""The output folder: what it holds, whose it is, and how results get there whole or not at all."""
