"""Networks and their parts: tensors in, tensors out, and no state but weights.

``unet`` is the network of every DDPM here, ``spade_unet``, ``attention_unet`` and ``cosyn_unet`` those of methods
B, D and C. What segments in one pass is a `dense.DenseNetwork`; ``by_name`` builds those from a checkpoint's header.
Names of modules are part of every checkpoint: a renamed attribute makes old files unreadable. Read ``unet`` first.
"""
