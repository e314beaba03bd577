"""The encoders that come with the package."""

import pathlib

FOLDER = pathlib.Path(__file__).resolve().parent / "_pretrained"


def pretrained(name):
    """The folder of an encoder that comes with the package: a handle for `HubEncoder`.

    Each is an export as `export.export_encoder` makes them; its `MODEL_CARD.md` says what it was
    trained on, what it takes and what it was measured to be worth.

    Args:
        name: "notes-frequency-10", of sounds: one-second windows at 16 kHz; or
            "moving-digits-frames-8", of clips: 16 grey frames of 64 x 64.

    Returns:
        The folder's path, a string; `load_encoder` takes it too.

    Raises:
        ValueError: If there is no such encoder.

    Example:
    >>> encoder = HubEncoder(pretrained("notes-frequency-10"), trainable=False)
    >>> embeddings = encoder(np.zeros((2, 16000), "float32"))
    """
    if name not in names():
        raise ValueError(f"`name` must be {' or '.join(map(repr, names()))}. Received: {name!r}")
    return str(FOLDER / name)


def names():
    """Of all encoders that come with the package."""
    return sorted(folder.name for folder in FOLDER.iterdir() if folder.is_dir())
