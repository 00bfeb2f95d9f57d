"""The edge to kopf: its events go to `reconcile`, and nothing of it goes further."""
