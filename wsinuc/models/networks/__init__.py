"""Networks and their parts: tensors in, tensors out. ``by_name`` builds those that segment in one
pass from a checkpoint's header.
"""
