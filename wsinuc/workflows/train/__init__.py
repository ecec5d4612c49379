"""Annotated images to a checkpoint of kind segmenter.

``ddpm`` fits pixel classifiers to the features of a denoiser (method A), ``networks`` trains
networks that segment in one pass (method D, HoVer-Net, the plain U-Net); ``threshold`` and
``sweep`` choose what neither learns. Read ``networks`` first.
"""
