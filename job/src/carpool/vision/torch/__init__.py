"""Networks and what runs beside them on the device; the only part of `vision` that imports torch.

Only the model host imports these modules, and handlers inside `load` and `predict`.
"""
