"""A result over its slide in the browser: a server of tiles, and a page that shows them.

The folder of a result (or of several, or a slide) goes in; what comes out are pictures and figures of files that
exist. Labels are the only thing that is ever written. ``server`` puts it together and is the file to read first;
``table`` holds the nuclei, ``opened`` is one result with its caches, ``tiles`` draws it, ``teach`` has its labels,
``handlers`` answers the page, whose own files lie in ``files``.
"""
