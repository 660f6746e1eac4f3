"""The generated part of the C export: the sizes (`ww_config.h`), and tables, weights and layers (`ww_model.c`)."""

from __future__ import annotations

import json

import numpy as np

from wakeword.detector.trigger import TIME_TOLERANCE_S
from wakeword.export import c_features
from wakeword.export.layers import Depthwise, Frames, Layer, sizes_of
from wakeword.features.log_mel import FRAMES_PER_STEP, FeatureSettings

GENERATED = "/* Written by 'wakeword export'. */\n"


def config_header(layers: list[Layer], meta: dict, settings: FeatureSettings, feature_scale: float | None) -> str:
    """`ww_config.h`; `feature_scale` is None for a model in floating point.

    Raises:
        ConfigError: features that the C code cannot compute.
    """
    frames = meta["refractory_s"] - TIME_TOLERANCE_S
    values = {
        "INT8": int(feature_scale is not None),
        "OUTPUTS": layers[-1].size,
        "WINDOW": settings.window,
        "HOP": settings.hop,
        "FFT": settings.fft,
        "MELS": settings.mels,
        "FRAMES_PER_STEP": FRAMES_PER_STEP,
        **c_features.constants(settings, feature_scale),
        "SMOOTHING_FRAMES": meta["smoothing_frames"],
        # Counted in 32 bits: a longer pause is the longest that they hold, some years.
        "REFRACTORY_FRAMES": int(np.clip(np.ceil(frames / settings.frame_s), 1, 2**31 - 1)),
        "LARGEST_KERNEL": max([2, *(layer.kernel for layer in layers if isinstance(layer, Depthwise))]),
    }
    lines = [f"#define WW_{name} {value}\n" for name, value in values.items()]
    return f"{GENERATED}#ifndef WW_CONFIG_H\n#define WW_CONFIG_H\n\n#include <stdint.h>\n\n{''.join(lines)}\n#endif\n"


def model_source(
    layers: list[Layer], meta: dict, settings: FeatureSettings, feature_scale: float | None, logit_scale: np.ndarray
) -> str:
    """`ww_model.c`; `feature_scale` as above, `logit_scale` float32 `[outputs]`."""
    names = ", ".join(_string(each["phrase"]) for each in meta["phrases"])
    thresholds = np.array([at_least(each["threshold"]) for each in meta["phrases"]], np.float32)
    parts = [
        GENERATED,
        '#include "ww_model.h"\n\n#include <string.h>\n\n#include "wakeword.h"\n\n',
        f"const int wakeword_phrase_count = WW_OUTPUTS;\nconst char *const wakeword_phrases[] = {{{names}}};\n",
        array("const float ww_thresholds[WW_OUTPUTS]", thresholds),
        array("const float ww_logit_scale[WW_OUTPUTS]", np.asarray(logit_scale, np.float32)),
        *(array(f"const {name}", values) for name, values in c_features.tables(settings, feature_scale).items()),
        *_network(layers),
    ]
    return "".join(parts)


def at_least(threshold: float) -> np.float32:
    """The smallest float32 not below a threshold: scores in float32 reach the one exactly when they reach the other."""
    rounded = np.float32(threshold)
    return rounded if float(rounded) >= threshold else np.nextafter(rounded, np.float32(2))


def array(declaration: str, values: np.ndarray) -> str:
    """A constant array in C."""
    flat = values.ravel()
    texts = [_float(value) for value in flat] if flat.dtype.kind == "f" else [str(value) for value in flat.tolist()]
    rows = ["    " + ", ".join(texts[start : start + 16]) for start in range(0, len(texts), 16)]
    return f"{declaration} = {{\n" + ",\n".join(rows) + "};\n"


def constant_bytes(layers: list[Layer], settings: FeatureSettings, feature_scale: float | None) -> int:
    """What the constant arrays take of flash; the code is not in it."""
    arrays = [value for layer in layers for value in _arrays(layer).values()]
    return sum(each.nbytes for each in [*arrays, *c_features.tables(settings, feature_scale).values()])


def state_bytes(layers: list[Layer], settings: FeatureSettings, integers: bool) -> int:
    """What the arrays that hold the stream's state take of RAM; the stack is not in it."""
    sizes, (_, room) = sizes_of(layers), _arena(layers)
    values = room + sizes[0] + sum(layer.past_frames * sizes[layer.sources[0]] for layer in layers)
    powers = (8 if integers else 4) * (settings.fft // 2 + 1)
    return (2 if integers else 4) * values + 2 * settings.window + 4 * settings.fft + powers


def _arrays(layer: Layer) -> dict[str, np.ndarray]:
    names = ("weight", "bias", "multiplier", "shift")
    found = {name: getattr(layer, name, None) for name in names}
    return {name: value for name, value in found.items() if isinstance(value, np.ndarray)}


_TYPES = {"i1": "int8_t", "i2": "int16_t", "i4": "int32_t", "u1": "uint8_t", "f4": "float"}


def _network(layers: list[Layer]) -> list[str]:
    """Weights, states and `ww_step`, which calls a kernel a layer."""
    sizes, places, room = sizes_of(layers), *_arena(layers)
    parts, states, calls, resets = [], [], [], ["    memset(values, 0, sizeof values);\n"]
    for index, layer in enumerate(layers):
        arrays = {}
        for name, values in _arrays(layer).items():
            arrays[name] = f"{name}_{index}"
            kind = _TYPES[values.dtype.str[1:]]
            parts.append(array(f"static const {kind} {arrays[name]}[{values.size}]", values))
        x, out = places[layer.sources[0]], places[index + 1]
        if len(layer.sources) > 1:  # side by side in a place of their own, behind all others
            x, to = f"values + {room}", room
            for source in layer.sources:
                size = f"{sizes[source]} * sizeof *values"
                calls.append(f"    memcpy(values + {to}, {places[source]}, {size});\n")
                to += sizes[source]
        if layer.past_frames:
            source_size = sizes[layer.sources[0]]
            states.append(f"static ww_value past_{index}[{layer.past_frames * source_size}];\n")
            states.append(f"static int position_{index};\n")
            resets.append(f"    memset(past_{index}, 0, sizeof past_{index});\n    position_{index} = 0;\n")
        past = f"past_{index}, &position_{index}"
        if isinstance(layer, Frames):
            calls.append(f"    ww_frames({layer.channels}, {layer.kernel}, {layer.dilation}, {x}, {past}, {out});\n")
        elif isinstance(layer, Depthwise):
            shift = f", {layer.shift}" if hasattr(layer, "shift") else ""
            fields = f"{arrays['weight']}, {layer.size}, {layer.kernel}, {layer.dilation}{shift}"
            parts.append(f"static const ww_depthwise_layer layer_{index} = {{{fields}}};\n")
            calls.append(f"    ww_depthwise(&layer_{index}, {x}, {past}, {out});\n")
        else:
            rows, columns = layer.weight.shape
            last = index == len(layers) - 1
            # The last layer is never requantised.
            missing = ["0", "0"] if last and layer.weight.dtype == np.int8 else []
            fields = ", ".join([*arrays.values(), *missing, str(rows), str(columns), str(int(layer.relu))])
            parts.append(f"static const ww_linear_layer layer_{index} = {{{fields}}};\n")
            add = "NULL" if layer.add is None else places[layer.add]
            for part in range(layer.repeat):
                here = (f"{x} + {part * columns}", add, f"{out} + {part * rows}") if part else (x, add, out)
                call = f"    ww_linear(&layer_{index}, {', '.join(here)});\n"
                calls.append(f"    ww_output(&layer_{index}, {x}, logits);\n" if last else call)
    room += max([sum(sizes[source] for source in layer.sources) for layer in layers if len(layer.sources) > 1] + [1])
    return [
        *parts,
        *states,
        f"static ww_value values[{room}];\n\nvoid ww_reset(void) {{\n",
        *resets,
        "}\n\nvoid ww_step(const ww_value *features, ww_sum *logits) {\n",
        *calls,
        "}\n",
    ]


def _arena(layers: list[Layer]) -> tuple[list[str], int]:
    """Where each value lies in `values`, each place used again once nobody reads it; and how many numbers that is."""
    sizes, end = sizes_of(layers), 0
    last_read = {0: len(layers)}
    for index, layer in enumerate(layers):
        for source in (*layer.sources, *([] if layer.add is None else [layer.add])):
            last_read[source] = index
    places, taken = ["features"], {}
    for index in range(len(layers) - 1):  # the last layer writes the logits
        taken = {value: span for value, span in taken.items() if last_read[value] >= index}
        start = 0
        for low, high in sorted(taken.values()):
            if low - start >= sizes[index + 1]:
                break
            start = max(start, high)
        taken[index + 1] = (start, start + sizes[index + 1])
        end = max(end, start + sizes[index + 1])
        places.append(f"values + {start}")
    return [*places, "logits"], end


def _float(value) -> str:
    # Nine digits name a float32 exactly.
    text = f"{float(value):.9g}"
    return (text if any(mark in text for mark in ".en") else text + ".0") + "f"


def _string(text: str) -> str:
    """A C string literal: other bytes than plain ASCII in octal, which ends after three digits."""
    plain = json.dumps(text)[1:-1] == text and text.isascii() and "?" not in text
    if plain:
        return f'"{text}"'
    return '"' + "".join(f"\\{byte:03o}" for byte in text.encode()) + '"'
