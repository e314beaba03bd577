"""The linear probe is what scikit-learn gives on all features; labels choose its penalty."""

import dataclasses

import numpy as np
import pytest
from sklearn import linear_model, metrics, model_selection

from training import linear_probe
from training.config import TransferConfig
from training.heads import Answers, center_and_scale
from training.linear_probe import LinearProbe

CONFIG = TransferConfig(head="linear", seed=1)


def informative(examples, seed, noise=1.0, features=300, classes=4):
    """More features than examples, of which few tell the class."""
    centers = 2 * np.random.default_rng(9).normal(size=(classes, 5))
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=examples)
    x = random.normal(size=(examples, features)) * noise
    x[:, :5] += centers[labels]
    return x.astype("float32"), labels


def scaled(train, test):
    center, scale = center_and_scale(train)
    return (train - center) / scale, (test - center) / scale


@pytest.mark.parametrize("classes", [2, 4])
def test_it_is_logistic_regression_of_all_features(classes, monkeypatch):
    monkeypatch.setattr(linear_probe, "STRENGTHS", (0.01,))
    train, test = (informative(n, seed, classes=classes) for n, seed in ((60, 0), (400, 1)))
    (score,) = LinearProbe(Answers(classes), CONFIG).score(train, test)
    x, x_test = scaled(train[0], test[0])
    model = linear_model.LogisticRegression(C=0.01, tol=1e-8, max_iter=5000).fit(x, train[1])
    assert score == pytest.approx(model.score(x_test, test[1]), abs=0.006)
    assert score > 1 / classes + 0.1


def test_of_numbers_it_is_the_ridge_regression_that_is_best_left_one_out():
    random = np.random.default_rng(0)
    x = random.normal(size=(260, 80)).astype("float32")
    y = 50 + 3 * x[:, 0] + random.normal(size=260)
    error, within = LinearProbe(Answers(None, tolerances=(2.0,)), CONFIG).score(
        (x[:60], y[:60]), (x[60:], y[60:])
    )
    scaled_x, x_test = scaled(x[:60], x[60:])
    errors = {}
    for alpha in 1 / np.array(linear_probe.STRENGTHS):
        left_out = []
        for i in range(60):
            kept = np.arange(60) != i
            model = linear_model.Ridge(alpha).fit(scaled_x[kept], y[:60][kept])
            left_out.append((model.predict(scaled_x[i : i + 1])[0] - y[i]) ** 2)
        errors[alpha] = np.mean(left_out)
    best = linear_model.Ridge(min(errors, key=errors.get)).fit(scaled_x, y[:60])
    off = np.abs(best.predict(x_test) - y[60:])
    assert error == pytest.approx(np.mean(off**2), rel=1e-3)
    assert within == pytest.approx(np.mean(off <= 2), abs=0.011)


@pytest.mark.parametrize(("noise", "examples"), [(0.05, 40), (1.0, 300), (3.0, 120)])
def test_the_penalty_is_the_one_that_a_search_over_the_labels_finds(noise, examples):
    x, labels = informative(examples, 0, noise)
    x, _ = scaled(x, x)
    search = model_selection.GridSearchCV(
        linear_model.LogisticRegression(max_iter=2000),
        {"C": list(linear_probe.STRENGTHS)},
        cv=model_selection.ShuffleSplit(3, test_size=0.2, random_state=CONFIG.seed),
    )
    best = search.fit(x, labels).best_params_["C"]
    assert LinearProbe(Answers(4), CONFIG)._strength(x, labels) == best


def test_the_penalty_is_chosen_without_the_test():
    train, test = informative(80, 0), informative(200, 1)
    chosen = []

    class Watched(LinearProbe):
        def _strength(self, x, labels):
            chosen.append(super()._strength(x, labels))
            return chosen[-1]

    probe = Watched(Answers(4), CONFIG)
    scores = [probe.score(train, (test[0], labels)) for labels in (test[1], (test[1] + 1) % 4)]
    assert chosen[0] == chosen[1] and scores[0] != scores[1]
    assert probe.score(train, test) == scores[0]


def test_several_labels_are_measured_by_average_precision():
    random = np.random.default_rng(0)
    x = random.normal(size=(500, 20)).astype("float32")
    present = np.stack([x[:, 0] > 0.5, x[:, 1] > 0, np.zeros(500, bool)], axis=1)
    present[250:, 2] = x[250:, 2] > 0  # Never seen in training.
    probe = LinearProbe(Answers(3, multi_label=True), CONFIG)
    (score,) = probe.score((x[:250], present[:250]), (x[250:], present[250:]))
    unseen = metrics.average_precision_score(present[250:, 2], np.zeros(250))
    assert score == pytest.approx((2 + unseen) / 3, abs=0.03)


def test_one_label_is_the_answer_to_all():
    (x, labels), test = informative(1, 0), informative(100, 1)
    (score,) = LinearProbe(Answers(4), CONFIG).score((x, labels), test)
    assert score == np.mean(test[1] == labels[0]) > 0


@pytest.mark.parametrize("count", [2, 5])
def test_a_handful_of_labels_is_told_apart(count):
    x, labels = informative(count, 0, noise=0.01)
    assert len(np.unique(labels)) > 1
    (score,) = LinearProbe(Answers(4), CONFIG).score((x, labels), (x, labels))
    assert score == 1


def test_a_class_that_no_label_is_of_is_never_answered():
    x, labels = informative(90, 0)
    x_test, of_test = informative(200, 1)
    unseen = x_test[of_test == 3], of_test[of_test == 3]
    (score,) = LinearProbe(Answers(4), CONFIG).score((x[labels != 3], labels[labels != 3]), unseen)
    assert len(unseen[1]) > 20 and score == 0


def test_examples_of_no_class_do_not_choose_the_penalty():
    """There is no precision of them: scikit-learn would raise an error."""
    x, labels = informative(40, 0, noise=0.1)
    present = np.zeros((40, 4), bool)
    present[np.arange(8), labels[:8]] = True
    probe = LinearProbe(Answers(4, multi_label=True), dataclasses.replace(CONFIG, seed=1))
    parts = model_selection.ShuffleSplit(3, test_size=0.2, random_state=1).split(x)
    assert any(not present[held].any() for _, held in parts)
    (score,) = probe.score((x, present), (x[:8], present[:8]))
    assert score > 0.5
