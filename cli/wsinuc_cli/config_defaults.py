"""The defaults of trainings as their config dataclasses have them, for the help of the commands.

``python -m wsinuc_cli.config_defaults`` writes them into the file that `wsinuc_cli.help.stated_defaults`
reads: after a default has changed, a test asks for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from wsinuc.exports.atomic import replacing
from wsinuc_cli.help.stated_defaults import FILE
from wsinuc_cli.options.overlay import field_of

Presets = Mapping[str, Mapping[str, Any]]
"""Name of a preset, empty for the one that is taken without ``--preset`` -> method -> its config."""


def current_defaults() -> dict[str, dict[str, str]]:
    """Command -> option -> the text of its default; imports PyTorch."""
    from wsinuc.workflows.adapt.config import AdaptConfig
    from wsinuc.workflows.classify.run import PointTrainConfig
    from wsinuc.workflows.distill.config import DistillConfig
    from wsinuc.workflows.join.run import JoiningFit
    from wsinuc.workflows.train.sweep import SweepConfig
    from wsinuc_cli.commands import adapt, distill, join, sweep
    from wsinuc_cli.commands.classify import command as classify
    from wsinuc_cli.commands.pretrain import settings as pretrain_settings

    only = ""
    return {
        "train": _train(),
        "pretrain": stated(
            {"cpu": {method: pretrain_settings.presets(method)["cpu"] for method in pretrain_settings.METHODS}},
            {"steps": "fit.steps", **pretrain_settings.FIELDS},
            pretrain_settings.OWNERS,
        ),
        "distill": stated({only: {only: DistillConfig()}}, distill.FIELDS),
        "sweep": stated({only: {only: SweepConfig()}}, sweep.FIELDS),
        "classify": stated({only: {only: PointTrainConfig()}}, classify.FIELDS),
        "synthesize": _synthesize(),
        "adapt": stated({only: {only: AdaptConfig()}}, adapt.FIELDS),
        "join": stated({only: {only: JoiningFit()}}, join.FIELDS),
    }


def _train() -> dict[str, str]:
    from wsinuc.workflows.train.ddpm import DdpmTrainConfig
    from wsinuc.workflows.train.network_config import NetworkTrainConfig
    from wsinuc_cli.commands.train import DDPM_FIELDS, NETWORK_FIELDS, NETWORKS, OWNERS

    presets = {
        "": {"ddpm": DdpmTrainConfig(), **{method: NetworkTrainConfig.quick(method) for method in NETWORKS}},
        "paper": {"ddpm": DdpmTrainConfig.paper(), **{method: NetworkTrainConfig.paper(method) for method in NETWORKS}},
    }
    # what a field that is None stands for is a property of the config
    shown = NETWORK_FIELDS | {"model_mpp": "resolution", "separation": "way"}
    return stated(presets, {**DDPM_FIELDS, "lr": "fit.lr"}, OWNERS, dict.fromkeys(NETWORKS, shown))


def _synthesize() -> dict[str, str]:
    from wsinuc.models.diffusion.samplers import USUAL_STEPS, SamplerConfig
    from wsinuc.workflows.synthesize.config import SynthesisConfig
    from wsinuc_cli.commands.synthesize import FIELDS

    start = SynthesisConfig()
    usual = {name: {"": SynthesisConfig(sampler=SamplerConfig.usual(name))} for name in USUAL_STEPS}
    first = usual.pop(start.sampler.name)
    # The default of --workers depends on the machine, so no page can state it.
    settings = {name: path for name, path in FIELDS.items() if name != "workers"}
    texts = stated({"": {"": start}}, {"sampler": "sampler.name", **settings})
    return texts | stated({"": first, **usual}, {"steps": FIELDS["steps"]})


def stated(
    presets: Presets,
    paths: Mapping[str, str],
    owners: Mapping[str, tuple[str, ...]] | None = None,
    own_paths: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, str]:
    """Option -> the text of its default.

    Parameters
    ----------
    paths
        Option -> dotted path of its field.
    owners
        Option -> the methods to which it means something; others mean something to all.
    own_paths
        Method -> its paths, where they are others.

    Examples
    --------
    >>> from wsinuc.config import SegmentConfig
    >>> small, large = SegmentConfig(block=1024), SegmentConfig(block=4096)
    >>> stated({"": {"a": small, "b": large}, "paper": {"a": large, "b": large}}, {"block": "block"})
    {'block': '1024, b 4096; paper 4096'}
    """
    of_method = {method: (own_paths or {}).get(method, paths) for methods in presets.values() for method in methods}
    names = dict.fromkeys(name for each in of_method.values() for name in each)
    texts = {}
    for name in names:
        values = {
            preset: {
                method: _text(config, of_method[method][name])
                for method, config in configs.items()
                if name in of_method[method] and method in (owners or {}).get(name, (method,))
            }
            for preset, configs in presets.items()
        }
        text = _joined(values)
        if text:
            texts[name] = text
    return texts


def _text(config: Any, path: str) -> str:
    """A value as the user would write it; empty where there is none."""
    try:
        value = field_of(config, path)
    except AttributeError:  # an option that this method's config has no field for
        return ""
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, tuple):
        if value and isinstance(value[0], tuple):
            separator = ";"
        else:
            separator = ","
        return separator.join(",".join(map(str, each)) if isinstance(each, tuple) else str(each) for each in value)
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def _joined(values: Mapping[str, Mapping[str, str]]) -> str:
    """The values of all presets and methods, each said once."""
    parts: list[str] = []
    for preset, of_methods in values.items():
        known = {method: text for method, text in of_methods.items() if text}
        if not known:
            continue
        first = next(iter(known.values()))
        others = [f"{method} {text}" for method, text in known.items() if text != first]
        text = ", ".join([f"{preset} {first}".strip(), *others])
        # A preset that changes nothing is not mentioned.
        if text.removeprefix(f"{preset} ") not in parts[:1]:
            parts.append(text)
    return "; ".join(parts)


def write_defaults() -> None:
    """Write the file anew, after a default has changed; raises OutputError."""
    text = json.dumps(current_defaults(), indent=1) + "\n"
    with replacing(FILE) as file:
        file.write(text.encode())


if __name__ == "__main__":
    write_defaults()
