"""``wsinuc pretrain``: a diffusion model from images.

Unlabelled images become a denoiser (`denoiser`), annotated ones a generator (`generators`). Read
`command` first; `settings` lays the options that were given over a preset, for all methods alike.
"""

from wsinuc_cli.commands.pretrain.command import pretrain

__all__ = ["pretrain"]
