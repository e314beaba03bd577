"""Named recipes: what to train, with what to expect."""

from training.config import PretrainConfig


def notes():
    """Ten frequency bands of rendered notes.

    Command: python -m training.pretrain --recipe=notes --workdir=runs/notes
    Hardware: two CPU cores, 3 GiB of memory, 460 MB of disk; 4 to 5 minutes.
    Expect: about 80 % of the patches of held-out notes in their place (chance 10 %); what the
    encoder is worth is in README.md.
    """
    return PretrainConfig(recipe="notes")


def notes_time():
    """Ten pieces of each note, from its onset to its decay, of 0.1 s each.

    A steady tone cannot be ordered: what can is the attack, the decay and the end. So notes are not
    shifted, for all of them begin at the beginning.

    Command: python -m training.pretrain --recipe=notes_time --workdir=runs/notes_time
    """
    return PretrainConfig(
        recipe="notes_time",
        axis="time",
        remainder="crop",
        window_ms=32.0,
        stride_ms=10.0,
        fft_length=512,
        num_mel_bins=60,
        max_shift=0,
        steps=3000,
    )


def notes_grid():
    """Nine patches of each note: three frequency bands by three pieces of time.

    Command: python -m training.pretrain --recipe=notes_grid --workdir=runs/notes_grid
    """
    return PretrainConfig(recipe="notes_grid", grid=(3, 3), max_shift=0, steps=3000)


def moving_digits():
    """Eight pieces of two frames of generated clips of moving digits.

    Command: python -m training.pretrain --recipe=moving_digits --workdir=runs/moving_digits
    Hardware: two CPU cores; 7 to 10 minutes.
    Expect: about 72 % of the pieces of held-out clips in their place (chance 12.5 %); from 1000
    labels the motion is told at 98 % (untrained 91 %), the digit no better than untrained.
    """
    return PretrainConfig(
        recipe="moving_digits",
        data="moving_digits",
        axis="frames",
        num_patches=8,
        backbone="clip",
        batch_size=32,
        steps=2000,
        max_shift=0,
        max_gain_db=0.0,
    )


def digit_scenes():
    """A grid of nine pieces of generated stills of several digits.

    Pieces are normalised: the light, which falls off to one side, would give the order away.

    Command: python -m training.pretrain --recipe=digit_scenes --workdir=runs/digit_scenes
    Hardware: two CPU cores; 5 to 6 minutes.
    Expect: about 66 % of the pieces of held-out stills in their place (chance 11 %); from 1000
    labels the number of digits is told at 72 % (untrained 64 %), which digits they are no better.
    """
    return PretrainConfig(
        recipe="digit_scenes",
        data="digit_scenes",
        grid=(3, 3),
        gap=2,
        jitter=2,
        normalize=True,
        backbone="image",
        batch_size=64,
        steps=3000,
        max_shift=0,
        max_gain_db=0.0,
    )


RECIPES = {
    recipe.__name__: recipe
    for recipe in (notes, notes_time, notes_grid, moving_digits, digit_scenes)
}
