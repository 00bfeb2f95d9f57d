"""From objects of the API server, as plain JSON, to the records that decisions are made on.

Objects come by the ten thousand and are not validated here: the API server has done so. What must
stay true: no object that the API server accepts makes a function of this package raise.
"""
