"""A result over its slide in the browser: a server of tiles, and a page that shows them.

The folder of a result (or of several, or a slide) goes in; what comes out are pictures and figures of files that
exist. What is shown is never changed: labels and training windows go to files beside the result, and learned classes
to a result of their own. ``server`` puts it together and is the file to read first; ``table`` holds the nuclei,
``opened`` is one result with its caches, ``compared`` two of them, ``tiles`` draws it, ``teach`` has its labels,
``edit`` its training windows, ``handlers`` answers the page, whose own files lie in ``files``.
"""
