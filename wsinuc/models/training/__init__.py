"""One loop for every training: a loss per batch in, averaged weights out.

``loop`` owns the optimiser, the moving average and the log, ``state`` what a run goes on from after it was
killed, ``processes`` those that share a step, ``losses`` the terms of networks that segment. Read ``loop`` first.
"""
