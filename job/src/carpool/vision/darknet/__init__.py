"""Networks in Darknet's own format: a .cfg that describes the layers, a .weights with the values.

Nothing in this package imports torch at module level: Spark tasks import the handler too.
"""
