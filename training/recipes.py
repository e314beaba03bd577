"""Named recipes: what to train, with what to expect."""

from training.config import PretrainConfig


def notes():
    """Ten frequency bands of rendered notes.

    Of each note a part is seen, at least 60 % of its time and 70 % of its frequencies. Of whole
    notes, shifted in time, more patches were put in their place, 79 % after 4000 steps; instrument
    and pitch were told worse, the family no better.

    Command: python -m training.pretrain --recipe=notes --workdir=runs/notes
    Hardware: two CPU cores, 3 GiB of memory, 460 MB of disk; 4 to 8 minutes.
    Expect: 69 to 70 % of the patches of held-out notes in their place (one seed on two machines;
    chance 10 %); from 1000 labels family .51 to .53, instrument .81, pitch 34 to 37 semitones²
    (untrained .39, .61, 50). What half of the steps are worth is in README.md.
    """
    return PretrainConfig(recipe="notes")


def notes_time():
    """Ten pieces of each note, from its onset to its decay, of 0.1 s each.

    A steady tone cannot be ordered: what can is the attack, the decay and the end. So notes are
    seen whole, for all of them begin at the beginning.

    Command: python -m training.pretrain --recipe=notes_time --workdir=runs/notes_time
    Hardware: two CPU cores, 3 GiB of memory; 6 minutes.
    Expect: 65 % of the pieces of held-out notes in their place (chance 10 %), as after half of the
    steps; from 1000 labels family .46, instrument .76, pitch 43 semitones² (untrained .36, .57, 53,
    with batch-norm statistics of its inputs .38, .59, 54; one seed, medians of five draws).
    """
    return PretrainConfig(
        recipe="notes_time",
        axis="time",
        remainder="crop",
        window_ms=32.0,
        stride_ms=10.0,
        fft_length=512,
        num_mel_bins=60,
        min_time=1.0,
        min_frequency=1.0,
    )


def notes_grid():
    """Nine patches of each note: three frequency bands by three pieces of time.

    Command: python -m training.pretrain --recipe=notes_grid --workdir=runs/notes_grid
    Hardware: two CPU cores, 3 GiB of memory; 3 to 4 minutes.
    Expect: 72 % of the patches of held-out notes in their place (chance 11 %); from 1000 labels
    family .48, instrument .84, pitch 41 semitones² (untrained .38, .65, 46, with batch-norm
    statistics of its inputs .43, .69, 39: better at pitch; one seed, medians of five draws). With
    --objective=contrastive, twice the work a step, .55, .86 and 30 (one seed, moving averages in
    place of precise statistics).
    """
    return PretrainConfig(recipe="notes_grid", grid=(3, 3), min_time=1.0, min_frequency=1.0)


def moving_digits():
    """Eight pieces of two frames of generated clips of moving digits.

    The learning rate rises from 0: from the full one on, fixed permutations turned all units of the
    first fully connected layer off within 100 steps, for good. The rise keeps them on in some runs
    only; with --learning_rate=3e-4 as well 100 fixed permutations were learnt, 1000 in part.

    Command: python -m training.pretrain --recipe=moving_digits --workdir=runs/moving_digits
    Hardware: two CPU cores; 7 to 10 minutes.
    Expect: 73 % of the pieces of held-out clips in their place after 1000 of the steps (chance
    12.5 %), 72 % after 5000: the clips are learnt by heart. From 1000 labels the motion is told at
    97 and 98 % (untrained 91 %, with batch-norm statistics of its inputs 88 %; one seed, five draws
    of labels), the digit hardly better.
    """
    return PretrainConfig(
        recipe="moving_digits",
        data="moving_digits",
        axis="frames",
        num_patches=8,
        backbone="clip",
        batch_size=32,
        steps=2000,
        warmup_steps=200,
        max_gain_db=0.0,
    )


def digit_scenes():
    """A grid of nine pieces of generated stills of several digits.

    Pieces are normalised: the light, which falls off to one side, would give the order away.

    Command: python -m training.pretrain --recipe=digit_scenes --workdir=runs/digit_scenes
    Hardware: two CPU cores; 5 to 6 minutes.
    Expect: 74 % of the pieces of held-out stills in their place (chance 11 %); from 1000 labels the
    number of digits is told at 69 % (untrained 64 %, with batch-norm statistics of its inputs 67 %;
    one seed, medians of five draws), which digits they are no better.
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
        max_gain_db=0.0,
    )


def nsynth_paper():
    """Ten frequency bands of NSynth, as the paper has it.

    The paper's choices: notes of 4 s at 16 kHz, as log-compressed spectrograms with a window of
    25 ms, a stride of 10 ms and 513 linear bins; 10 frequency bands; a Context-Free Network on
    AlexNet, whose first fully connected layer is the embedding; the Fenchel-Young loss of perturbed
    ranks; Adam at 1e-6, batches of 32, 1000 epochs.

    Not stated in the paper, so ours: an epoch without the 5 % of the notes that `test_notes` keeps;
    513 bins cropped to 510; log(1 + magnitude / 0.001); noise of sigma 1, its expectation in closed
    form; the widths of AlexNet and 256 hidden units; no gap, jitter, normalisation or augmentation.

    Command: python -m training.pretrain --recipe=nsynth_paper --workdir=runs/nsynth_paper, with
    --folder where an extracted NSynth lies, or after python -m training.prepare --data=nsynth.
    Hardware: a GPU, and 40 GB of disk for the decoded notes; not measured here.
    """
    return PretrainConfig(
        recipe="nsynth_paper",
        data="nsynth",
        window_samples=64000,
        window_ms=25.0,
        stride_ms=10.0,
        fft_length=1024,
        num_mel_bins=None,
        axis="frequency",
        num_patches=10,
        remainder="crop",
        backbone="alexnet",
        embedding="fc",
        batch_size=32,
        learning_rate=1e-6,
        steps=8_586_000,  # 1000 epochs of 95 % of 289,205 notes.
        evaluate_every=8_586,
        min_time=1.0,
        min_frequency=1.0,
        max_gain_db=0.0,
    )


def ucf101_frames():
    """Eight pieces of two frames of UCF-101's clips, from the first frame to the last.

    Pieces are normalised, for lights that fade or brighten would give the order away.

    Command: python -m training.pretrain --recipe=ucf101_frames --workdir=runs/ucf101_frames
    Hardware: a GPU, and 8 GB of disk for the decoded clips; not measured here.
    """
    return PretrainConfig(
        recipe="ucf101_frames",
        data="ucf101",
        image_size=112,
        num_frames=16,
        axis="frames",
        num_patches=8,
        normalize=True,
        backbone="clip",
        batch_size=32,
        steps=30_000,  # About 100 epochs.
        evaluate_every=1000,
        max_gain_db=0.0,
    )


def cifar10_grid():
    """Four pieces of CIFAR-10's pictures of 32 pixels, each of 12.

    A piece of a grid of nine would be 8 pixels wide, too little to tell what it shows. Gap, jitter
    and normalisation keep edges and colours that go on from giving the order away.

    Command: python -m training.pretrain --recipe=cifar10_grid --workdir=runs/cifar10_grid
    Hardware: a GPU, or CPU cores and patience; not measured here.
    """
    return PretrainConfig(
        recipe="cifar10_grid",
        data="cifar10",
        image_size=32,
        grid=(2, 2),
        gap=2,
        jitter=3,
        normalize=True,
        backbone="image",
        batch_size=128,
        steps=20_000,  # About 50 epochs.
        evaluate_every=1000,
        max_gain_db=0.0,
    )


def imagenet_grid():
    """Nine pieces of ImageNet's pictures, as Noroozi and Favaro (2016) cut them.

    A square of 225 pixels is a grid of cells of 75, and each piece is 64 pixels somewhere in its
    cell, so that 11 lie between neighbours on average; pieces are normalised.

    Command: python -m training.pretrain --recipe=imagenet_grid --workdir=runs/imagenet_grid
    Hardware: a GPU, and 200 GB of disk for the decoded pictures; not measured here.
    """
    return PretrainConfig(
        recipe="imagenet_grid",
        data="imagenet2012",
        image_size=225,
        grid=(3, 3),
        jitter=11,
        normalize=True,
        backbone="alexnet",
        batch_size=256,
        steps=350_000,  # About 70 epochs.
        evaluate_every=5000,
        max_gain_db=0.0,
    )


RECIPES = {
    recipe.__name__: recipe
    for recipe in (
        *(notes, notes_time, notes_grid, moving_digits, digit_scenes),
        *(nsynth_paper, ucf101_frames, cifar10_grid, imagenet_grid),
    )
}
