"""What an export says of itself: metadata.json, MODEL_CARD.md, and what Kaggle Models asks for."""

import dataclasses
import pathlib
import re

import keras

from export.saved_model import DEFAULT
from keras_s2l.pretext_model import EMBEDDINGS
from training import objectives, records
from training.config import NOT_OF_VIEWS, NOT_STATED_IN_THE_PAPER, OF_PICTURES, OF_SOUNDS
from training.data import RENDERED
from training.recipes import RECIPES

METADATA = "metadata.json"
LICENCE = "Apache-2.0 for the code; the weights follow from the data, whose terms are: "
TERMS = {  # Of the data, where their authors state some.
    "nsynth": "NSynth: CC BY 4.0",
    "nsynth_gansynth": "NSynth: CC BY 4.0",
    "speech_commands": "Speech Commands: CC BY 4.0",
    **dict.fromkeys(RENDERED, "notes rendered from a sound bank, whose own licence applies"),
    "moving_digits": "made from scikit-learn's digits (UCI: CC BY 4.0)",
    "digit_scenes": "made from scikit-learn's digits (UCI: CC BY 4.0)",
    "folder": "those of the files it was trained on, which whoever publishes it must know",
}


def metadata(made, source):
    """What `metadata.json` holds, of `encoders.Made` and `sources.Source`.

    Everything is taken from the records of the run. From `architectures` a reader builds the same
    encoder untrained, whichever embedding it gives.
    """
    config = records.as_json(source.config)
    for field in dataclasses.fields(source.config):
        if field.metadata.get("is_path"):
            config[field.name] = ""  # Folders of the machine that trained it are nobody's business.
    return {
        "name": _name(source.config),
        "input": _input(made, source.config),
        "embedding": source.config.embedding,
        "dimensions": _dimensions(made.encoder, made.inputs),
        "signatures": {
            name: {"input": _shape(spec), "dimensions": _dimensions(layer, spec)}
            for name, (layer, spec) in {
                DEFAULT: (made.encoder, made.inputs),
                **made.further,
            }.items()
        },
        "licence": LICENCE + TERMS.get(source.config.data, "those of the data set's authors"),
        "pretrained": {
            "config": config,
            "step": source.step,
            "seeds": [source.config.seed],
            "held_out": source.held_out,
            "measured": source.measured,
            "not_stated_in_the_paper": {
                name: config[name] for name in _choices(source.config, made.form.kind)
            },
            "environment": source.environment,
        },
        "architectures": {
            name: keras.saving.serialize_keras_object(layer)
            for name, (layer, _) in made.further.items()
            if name in EMBEDDINGS
        },
    }


def _choices(config, kind):
    """What the paper does not state and the run depends on."""
    only = {field.name: field.metadata.get("only", {}) for field in dataclasses.fields(config)}
    of_others = OF_PICTURES if kind == "audio" else ("floor", *OF_SOUNDS)
    if objectives.is_contrastive(config):
        of_others += NOT_OF_VIEWS
    return [
        name
        for name in NOT_STATED_IN_THE_PAPER
        if name not in of_others
        and all(getattr(config, other) in values for other, values in only[name].items())
    ]


def _name(config):
    """That of the recipe, and of the data where they are not the recipe's."""
    if config.data == RECIPES[config.recipe]().data:
        return f"keras_s2l/{config.recipe}"
    return f"keras_s2l/{config.recipe}-{pathlib.Path(config.folder).name or config.data}"


def _input(made, config):
    if made.form.kind == "audio":
        of_kind = {
            "layout": "(batch, samples)",
            "range": [-1.0, 1.0],
            "sample_rate": config.sample_rate,
            "window_samples": config.window_samples,
            "spectrogram": {
                name: getattr(config, name)
                for name in ("window_ms", "stride_ms", "fft_length", "num_mel_bins", "floor")
            },
        }
    else:
        frames = "frames, " if made.form.kind == "video" else ""
        of_kind = {
            "layout": f"(batch, {frames}height, width, channels)",
            "range": [0.0, 1.0],
            "shape": made.inputs.shape[1:].as_list(),
        }
    return {"kind": made.form.kind, "dtype": "float32", **of_kind, "data": config.data}


def _shape(spec):
    return [spec.name, *spec.shape.as_list()]


def _dimensions(layer, spec):
    return layer.compute_output_shape(tuple(spec.shape))[-1]


def page(metadata, has_picture):
    """MODEL_CARD.md, of a metadata record."""
    run, described = metadata["pretrained"], metadata["input"]
    config, environment = run["config"], run["environment"]
    parts = [
        f"# {metadata['name']}",
        f"An encoder of {_KINDS[described['kind']]}, pre-trained without labels by "
        f"{_task(config)}, made by keras_s2l {environment['packages']['keras_s2l']}.",
        "## Input and output",
        _input_text(described),
        "| signature | input | embeddings |\n|---|---|---|\n"
        + "\n".join(
            f"| `{name}` | `{one['input'][0]}`, {_brackets(one['input'][1:])} | "
            f"(batch, {one['dimensions']}) |"
            for name, one in metadata["signatures"].items()
        ),
        f"Called as a function it gives what `serving_default` does, the embedding "
        f"`{metadata['embedding']}`. `fc` is the embedding of the paper, `patches` the features of "
        "all patches, `levels` those and the averages of earlier levels"
        + (
            ", `positions` those and earlier levels at each position along the axis that is cut. "
            if "positions" in metadata["signatures"]
            else ". "
        )
        + _of_windows(described)
        + "`encoder.keras` is the same encoder for Keras alone.",
        "## Training",
        f"- Recipe `{config['recipe']}`, data `{config['data']}`, objective "
        f"`{config['objective']}`, {_cut(config)}.\n"
        f"- {run['step']} steps of {config['batch_size']} examples, seed "
        f"{', '.join(map(str, run['seeds']))}; strategy {config['strategy']}, commit "
        f"{environment['commit']}; processor {environment['cpu']}, {environment['cpu_cores']} cores"
        f"{_accelerators(environment)}.\n" + "\n".join(f"- {line}" for line in _measured(run)),
        "Choices that the paper does not state: "
        + ", ".join(f"{k} {v}" for k, v in run["not_stated_in_the_paper"].items())
        + ".",
        "## What it is not good for",
        _LIMITS[described["kind"]]
        + " It was pre-trained with one seed; what it is worth on a task "
        "must be measured on that task. Loading a SavedModel runs its graph: load only what you "
        "trust, and check `sha256sum --check SHA256SUMS`.",
        "## Licence",
        f"{metadata['licence']}.",
        *(["![What it learnt](picture.png)"] if has_picture else []),
    ]
    return "\n\n".join(parts) + "\n"


_KINDS = {"audio": "sounds", "image": "pictures", "video": "clips"}
_LIMITS = {
    "audio": "Sounds of another sample rate: resample them first. Sounds of another kind than "
    "those it was trained on, and whatever needs times within a sound: all windows are averaged.",
    "image": "Pictures of another size: resize them first. Pictures of another kind than those it "
    "was trained on.",
    "video": "Clips of other numbers of frames or sizes: bring them to its own first. Clips of "
    "another kind than those it was trained on.",
}


def _brackets(shape):
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"


def _input_text(described):
    low, high = described["range"]
    text = f"float32 `{described['layout']}` in [{low:g}, {high:g}]"
    if described["kind"] != "audio":
        return f"{text}, of shape {described['shape']} each; any batch size."
    seconds = described["window_samples"] / described["sample_rate"]
    return (
        f"{text}, at {described['sample_rate']} Hz, mono; any length and batch size. Windows of "
        f"{seconds:g} s are encoded: shorter sounds are padded with silence, longer ones covered "
        "by windows whose embeddings are averaged."
    )


def _task(config):
    if config["objective"] == "contrastive":
        return (
            "telling two views of an example from those of others (as SimCLR, "
            "https://arxiv.org/abs/2002.05709)"
        )
    if config["objective"] == "cross_entropy":
        return (
            f"telling {config['num_permutations']} permutations of patches apart (as Noroozi and "
            "Favaro, https://arxiv.org/abs/1603.09246)"
        )
    return "putting shuffled patches in order (https://arxiv.org/abs/2103.09879)"


def _of_windows(described):
    """What `spectrogram` and the further formats take."""
    if described["kind"] != "audio":
        return "`encoder.tflite` and `encoder.onnx`, where they are there, take pictures too. "
    made = described["spectrogram"]
    bins = "linear bins" if made["num_mel_bins"] is None else f"{made['num_mel_bins']} mel bins"
    return (
        "`spectrogram`, and `encoder.tflite` and `encoder.onnx` where they are there, take the "
        f"spectrogram of one window: log(1 + magnitude / {made['floor']:g}), frames of "
        f"{made['window_ms']:g} ms every {made['stride_ms']:g} ms, FFT of {made['fft_length']}, "
        f"{bins}, as `keras_s2l.LogSpectrogram` makes it. "
    )


def _accelerators(environment):
    found = environment.get("accelerators") or []
    return f", {', '.join(found)}" if found else ""


def _cut(config):
    if config["grid"]:
        return f"patches in a grid of {' x '.join(map(str, config['grid']))}"
    return f"{config['num_patches']} patches along the {config['axis']}"


def _measured(run):
    if not run["held_out"]:
        yield "Nothing was measured at this step."
    measured = run["measured"]
    for name, value in run["held_out"].items():
        chance = ""
        if measured and measured["metric"] == name:
            chance = f" ({measured['meaning']}; chance {measured['chance']:.3g})"
        yield f"Held out: {name} {value:.4g}{chance}"


def kaggle(metadata):
    """The files by which Kaggle Models is told of a model and a variation, by name.

    https://github.com/Kaggle/kaggle-api/blob/main/docs/models_metadata.md
    """
    slug = re.sub(r"[^a-z0-9]+", "-", metadata["name"].lower()).strip("-")
    owner = {"ownerSlug": "INSERT_OWNER_SLUG_HERE"}
    return {
        "model-metadata.json": {
            **owner,
            "title": metadata["name"],
            "slug": slug,
            "subtitle": "",
            "isPrivate": True,
            "description": "See MODEL_CARD.md",
            "publishTime": "",
            "provenanceSources": "",
        },
        "model-instance-metadata.json": {
            **owner,
            "modelSlug": slug,
            "instanceSlug": metadata["embedding"],
            "framework": "tensorFlow2",
            "overview": f"An encoder of {_KINDS[metadata['input']['kind']]}",
            "usage": "See MODEL_CARD.md",
            "licenseName": "INSERT_LICENSE_NAME_HERE",
            "fineTunable": True,
            "trainingData": [],
            "modelInstanceType": "Unspecified",
            "baseModelInstanceId": 0,
            "externalBaseModelUrl": "",
        },
    }
