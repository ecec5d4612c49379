"""Python's names for the trainings: what a caller has goes in, in whatever form, and the result as an object comes out.

``train``, ``adapt``, ``pretrain``, ``distill``, ``synthesize`` and ``classify`` are the functions that `wsinuc` offers
under these names. They open what is given by its path, look at every argument, choose the method by what the settings
are of, and call the workflow of that method. Read ``train`` first; ``inputs`` has what all of them take.
"""
