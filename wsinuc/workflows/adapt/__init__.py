"""A model that exists and a few annotated windows to a model that knows these nuclei better, or to the news that it
does not.

``run`` is where to begin: it tunes the model's networks (``tune``) on windows (``windows``) beside tissue on which
they should stay as they are, mixes their weights with those that they had, and lets held-out windows decide
(``trials``).
"""
