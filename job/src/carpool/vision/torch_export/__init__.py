"""Exported programs (format TorchExport): inspection of .pt2 archives, and a detector over them.

A .pt2 archive is untrusted, and torch's own reader runs what it finds: it unpickles, evaluates
expressions and generates source from names. So no file of a user ever reaches torch. What is here
reads the archive with nothing but the standard library and knows every entry, field, operator and
expression that may be there; `inspection` is the door. The loader (`carpool.vision.torch.
exported_program`) has torch read a new archive, written from what was understood.

What must stay true: nothing here imports torch, opens a pickle, or evaluates text. The driver
inspects too, before Spark starts.
"""
