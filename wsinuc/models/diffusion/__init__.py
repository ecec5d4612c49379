"""Diffusion processes, their schedules, objectives and samplers; they know no network, a denoiser
is any callable.
"""
