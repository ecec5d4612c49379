"""Labels that somebody gives to nuclei, and what is learned from them.

``labels`` keeps the file beside the result, the only one that a viewer writes, and is the file to read first;
``teaching`` is what the page shows of it, ``learn`` takes it to classes of all nuclei, ``doubtful`` says where to look.
"""
