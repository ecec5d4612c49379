"""Diffusion processes, their schedules, objectives and samplers; they know no network, a denoiser is any callable.

``gaussian`` has the closed forms of Ho et al. (2020), ``variance`` the learned variance, ``samplers`` the ways
back from noise; ``cosine``, ``categorical`` and ``joint`` are the process of method C. All randomness is an
argument. Read ``gaussian`` first.
"""
