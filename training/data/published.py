"""Published data sets: labelled items, decoded one by one to arrays of one shape."""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable

from training.data import decoding, recordings
from training.data.examples import Examples
from training.data.prepared import prepared
from training.errors import UserError


@dataclasses.dataclass(frozen=True)
class Item:
    """A sound, a picture or a clip.

    Attributes:
        name: What to call it.
        labels: Numbers, or booleans of all classes, by task.
        decode: `decode()` gives an iterable of `decoding.Decoded`, or raises
            `decoding.CorruptFile`, as `decoding.decode` does. It is run in a thread.
    """

    name: str
    labels: dict
    decode: Callable


def load(name, kind, items, num_items, settings, cache_dir, depends_on, classes):
    """Loads the items of one split; decodes them at their first use, a few at a time.

    Args:
        name: What to call the split, in errors and in the cache.
        kind: As of `Examples`.
        items: Iterator of `Item`, which is not touched if they lie decoded.
        num_items: How many there are, or may be at most.
        settings: `decoding.Settings`.
        cache_dir: As for `prepared`.
        depends_on: What else the items depend on, in JSON's types.
        classes: As of `Examples`.

    Returns:
        `Examples`. A sound has one for each window, with its labels; the `groups` of sounds are the
        items. `left_out` names those that are corrupt, too short, of one colour or, in part or
        whole, silent.

    Raises:
        UserError: If more than one item and more than 1 % of all are corrupt, or none can be used.
    """
    record = json.dumps([decoding.VERSION, decoding.settings_of(kind, settings), depends_on])
    digest = hashlib.sha256(record.encode()).hexdigest()[:16]
    examples = prepared(f"{name}-{digest}", cache_dir, _examples(name, items, num_items))
    return Examples(
        kind,
        examples.inputs,
        examples.labels,
        classes,
        settings.sample_rate if kind == "audio" else None,
        examples.left_out,
        groups=recordings.runs(examples.names) if kind == "audio" else None,
    )


def _examples(name, items, most_items):
    """Yields `(input, labels, name)` of each example; returns why items were left out, by name."""
    left_out, corrupt, num_items, any_used = {}, {}, 0, False
    begun = decoding.in_threads((item, _parts(item)) for item in items)
    with contextlib.closing(begun) as decoded:  # Whatever is raised.
        for item, parts in decoded:
            num_items += 1
            try:
                for part in parts:
                    for example in part.inputs:
                        any_used = True
                        yield example, item.labels, item.name
                    if part.left_out:
                        left_out[item.name] = part.left_out
            except decoding.CorruptFile as error:
                corrupt[item.name] = left_out[item.name] = f"corrupt: {error}"
                _refuse_corrupt(name, corrupt, num_items, most_items)
    _refuse_corrupt(name, corrupt, num_items, num_items)
    if not any_used:
        first = "".join(f", the first is {n} ({why})" for n, why in [*left_out.items()][:1])
        raise UserError(f"None of {num_items} examples of {name} can be used{first}.")
    return left_out


def _refuse_corrupt(name, corrupt, num_items, of):
    what, mend = f"examples of {name}", "Get the data set again."
    decoding.refuse_corrupt(corrupt, num_items, of, what, mend)


def _parts(item):
    """Begins to decode where it is first asked, in its thread."""
    yield from item.decode()
