"""The page ``report.html``: what a slide, or a cohort of slides, has given, for people.

Facts and pictures go in, one HTML file comes out that loads nothing and runs nothing. ``facts``
says what a page shows, ``slide_page`` and ``cohort_page`` fill the templates beside them;
``distributions`` counts while the table is written, ``quality`` judges focus and stain. Read
``slide_page`` first.
"""
