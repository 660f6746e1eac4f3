"""The loop that trains a head: its loss for one phrase and for several, its hard negatives, what it resumes."""

from __future__ import annotations

import contextlib
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lhotse")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch.nn import functional  # noqa: E402

from wakeword.acoustic import tokens  # noqa: E402
from wakeword.head.layers import HeadSizes  # noqa: E402
from wakeword.head.transfer import from_scratch, retrain, unfreeze  # noqa: E402
from wakeword.training import fit, losses  # noqa: E402
from wakeword.training.examples import Example, label  # noqa: E402
from wakeword.training.speller import Speller  # noqa: E402
from wakeword.training.steps import Steps  # noqa: E402
from wakeword.training.train_config import Phrase, TrainConfig  # noqa: E402

BOUNDARY, DIMS = 2, 40  # below it lies a tap, so that what is frozen is two blocks' outputs


def quiet(stage: str, fraction: float) -> None:
    pass


def made_examples(outputs: int, each: int = 12, seed: int = 0, dims: int = DIMS) -> list[list[Example]]:
    """For each output, examples of random frames, with labels as `examples.positives` gives them."""
    rng, found = np.random.default_rng(seed), []
    for output in range(outputs):
        found.append([])
        for _ in range(each):
            count = int(rng.integers(60, 100))
            labels = np.zeros((count, outputs), np.int8)
            labels[:, output] = label(count, 0.04, 1.0, 1.8)
            found[-1].append(Example(rng.standard_normal((count, dims)).astype(np.float16), labels, output, (25, 52)))
    return found


def made_stream(seed: int = 1, frames: int = 3000, dims: int = DIMS) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((frames, dims)).astype(np.float16)


def labelled(outputs: int, clips: int) -> torch.Tensor:
    """Labels `[outputs * clips, frames, outputs]` of as many clips of each output's phrase."""
    return fit.padded([example for said in made_examples(outputs) for example in said[:clips]])[1]


def phrase_loss_of_one(logits, labels):
    """The loss as it was written when a model had one phrase."""
    logits, labels = logits.squeeze(-1), labels.squeeze(-1)
    error = functional.binary_cross_entropy_with_logits(logits, (labels == 1).float(), reduction="none")
    said = (error * (labels == 1)).sum() / (labels == 1).sum().clamp(min=1)
    return said + 0.3 * (error * (labels == 0)).sum() / len(labels)


def test_of_one_phrase_the_loss_is_what_it_was_when_there_was_but_one():
    labels = labelled(1, 6)
    logits = torch.randn(*labels.shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(losses.phrase_loss(logits, labels), phrase_loss_of_one(logits, labels))
    windows = logits[..., 0]
    alone = functional.softplus(windows).sum() / len(windows)
    torch.testing.assert_close(losses.other_loss(logits), alone)


@pytest.mark.parametrize("kind", losses.LOSSES)
@given(seed=st.integers(0, 50), outputs=st.integers(1, 3))
def test_every_loss_falls_with_the_right_scores_and_leaves_out_what_does_not_matter(kind, seed, outputs):
    labels = labelled(outputs, 2)
    logits = torch.randn(*labels.shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    right = torch.where(labels == 1, 20.0, -20.0)
    assert losses.phrase_loss(right, labels, kind) < 1e-3 and losses.other_loss(-right.abs(), kind) < 1e-3
    assert losses.other_loss(right.abs(), kind) > 1
    own = losses.phrase_loss(logits, labels, kind)
    torch.testing.assert_close(own, losses.phrase_loss(torch.where(labels == -1, 9.0, logits), labels, kind))
    gradient = torch.autograd.grad(own, logits)[0]
    assert (
        (gradient[labels == 1] <= 0).all() and (gradient[labels == 0] >= 0).all() and not gradient[labels == -1].any()
    )


def test_focal_loss_cares_for_what_is_wrong_and_max_pooling_for_what_is_highest():
    labels = labelled(1, 3)
    logits = torch.zeros(*labels.shape)
    logits[:, 10] = 4.0  # a false peak
    gradient = {}
    for kind in losses.LOSSES:
        given_ = logits.clone().requires_grad_()
        losses.phrase_loss(given_, labels, kind).backward()
        gradient[kind] = given_.grad
    share = {kind: float(each[:, 10].sum() / each[labels == 0].sum()) for kind, each in gradient.items()}
    assert share["focal"] > 1.5 * share["frames"] and share["max-pool"] == pytest.approx(1)
    assert (gradient["max-pool"][labels == 1] < 0).sum() <= labels.shape[0] * 7  # ties of equal logits share it


@pytest.mark.parametrize("kind", ["frames", "max-pool"])
def test_smoothed_targets_are_reached_where_the_score_is_so_far_short_of_one(kind):
    labels = labelled(1, 1)
    steps = torch.arange(-6.0, 6.0, 0.1)
    said = [losses.phrase_loss(torch.where(labels == 1, step, -20.0), labels, kind, 0.05) for step in steps]
    assert float(steps[int(torch.stack(said).argmin())]) == pytest.approx(np.log(0.95 / 0.05), abs=0.1)
    unsmoothed = losses.phrase_loss(torch.where(labels == 1, 6.0, -20.0), labels, kind)
    assert unsmoothed < losses.phrase_loss(torch.where(labels == 1, 3.0, -20.0), labels, kind)


def test_letters_are_learnt_where_the_phrase_lies_and_nowhere_else():
    """Frames that are the phrase's letters one after the other, between others that are letters too."""
    torch.manual_seed(0)
    letters = tokens.encode("abc")
    hidden = functional.one_hot(torch.tensor([5] * 10 + [x for x in letters for _ in range(4)] + [5] * 10), 29).float()
    hidden = 4 * hidden.repeat(3, 1, 1)
    batch = [Example(np.zeros((32, 1)), np.zeros((32, 1)), 0, (10, 22)) for _ in range(2)]
    batch.append(Example(np.zeros((32, 1)), np.zeros((32, 1))))  # a part of the phrase is not spelled
    speller = Speller(29, ["abc"])
    optimizer = torch.optim.Adam(speller.parameters(), 0.1)
    for _ in range(60):
        optimizer.zero_grad()
        loss = speller(hidden, batch)
        loss.backward()
        optimizer.step()
    assert loss < 0.05
    assert tokens.decode(speller.letters(hidden[0, 10:22]).argmax(-1).tolist()) == "abc"
    moved = [Example(each.frames, each.labels, 0, (0, 12)) for each in batch[:2]]
    assert speller(hidden, moved) > 1
    changed = hidden.clone()
    changed[:, :10], changed[2] = 9.0, 9.0
    torch.testing.assert_close(speller(changed, batch), loss.detach(), atol=0.02, rtol=0.2)
    assert speller(hidden, batch[2:]) == 0
    assert speller(hidden, [Example(batch[0].frames, batch[0].labels, 0, (10, 12))]) == 0, "too short for three letters"


@pytest.mark.parametrize("outputs", [1, 2, 10])
def test_the_balance_of_an_output_is_that_of_one_alone(outputs):
    """By the derivatives of the loss: at a logit of 0 that is half of the frame's weight, but for the sign.

    The frames of the output's phrase weigh 1 together, each frame of the windows and around the phrase 1 and 0.3 over
    the number of windows and of clips; so do those of the other phrases' clips, however many these are, weigh 0.3.
    """
    clips, windows = 4, torch.zeros(6, 80, outputs, requires_grad=True)
    labels = labelled(outputs, clips)
    logits = torch.zeros(*labels.shape, requires_grad=True)
    (losses.phrase_loss(logits, labels) + losses.other_loss(windows)).backward()
    # Times `outputs`: the loss is the mean over them.
    weights, heard = 2 * outputs * logits.grad.abs(), 2 * outputs * windows.grad
    for output in range(outputs):
        weight, marked = weights[..., output], labels[..., output]
        own = torch.arange(len(labels)) // clips == output
        assert float(weight[marked == 1].sum()) == pytest.approx(1)
        assert not weight[marked == -1].any()
        around, other = weight[own][marked[own] == 0], weight[~own][marked[~own] == 0]
        np.testing.assert_allclose(clips * around, 0.3, rtol=1e-5)
        np.testing.assert_allclose(clips * (outputs - 1) * other, 0.3, rtol=1e-5)
        np.testing.assert_allclose(6 * heard[..., output], 1, rtol=1e-5)
        assert len(around) > 0 and (len(other) > 0) == (outputs > 1)


def test_frames_that_do_not_matter_to_an_output_have_no_loss():
    """As those of "hey computer" do not to the output of "computer"."""
    labels = labelled(2, 3)
    labels[3:, :, 0] = -1
    logits = torch.randn(*labels.shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    losses.phrase_loss(logits, labels).backward()
    assert not logits.grad[labels == -1].any() and (logits.grad[labels != -1] != 0).all()


@given(outputs=st.integers(1, 4), seed=st.integers(0, 3))
def test_hard_negatives_are_where_any_output_is_highest(small_model, outputs, seed):
    model = small_model(seed, HeadSizes(depth=3, channels=8, outputs=outputs))
    stream = made_stream(seed, 2600)
    with torch.no_grad():
        whole = fit.logits_of(model, torch.from_numpy(stream).float()[None], BOUNDARY)[0].numpy()
    found = fit.hardest(model, stream, BOUNDARY)
    model.eval()
    assert len(found) == 200 and (np.diff(found) > 0).all()
    lowest = np.sort(whole.max(axis=1))[-200]
    assert (whole.max(axis=1)[found] >= lowest - 1e-4).all()


@given(seed=st.integers(0, 3), short=st.integers(20, 60), long=st.integers(61, 90))
@torch.no_grad()
def test_batches_are_heard_in_one_pass(small_model, seed, short, long):
    generator = torch.Generator().manual_seed(seed)
    said, windows = (torch.randn(3, frames, 64, generator=generator) for frames in (short, long))
    model = small_model(seed)
    for each, alone in zip(fit.hidden_of_each(model, [said, windows], 0), (said, windows), strict=True):
        torch.testing.assert_close(model.head.output(each), fit.logits_of(model, alone, 0))
    from_scratch(model, seed)
    model.head.train()
    found = [model.head.output(each) for each in fit.hidden_of_each(model, [said, windows], 0)]
    assert [each.shape[:2] for each in found] == [(3, short), (3, long)]
    whole = torch.cat([torch.cat([said, said[:, -1:].expand(-1, long - short, -1)], dim=1), windows])
    expected = fit.logits_of(model, whole, 0)
    torch.testing.assert_close(found[0], expected[:3, :short])
    torch.testing.assert_close(found[1], expected[3:])


@pytest.mark.parametrize("scratch", [False, True])
def test_clips_and_other_speech_that_differ_throughout_are_told_apart(small_model, tmp_path, scratch):
    """Normalised each by its own statistics, what sets them apart would be taken away while training."""
    dims = 64 if scratch else DIMS
    offset = np.random.default_rng(5).standard_normal(dims).astype(np.float16)
    said = [Example(example.frames + offset, example.labels) for example in made_examples(1, dims=dims)[0]]
    stream, boundary = made_stream(dims=dims), 0 if scratch else BOUNDARY
    model = small_model(0, HeadSizes(depth=3, channels=8))
    learning = from_scratch(model, 0) if scratch else unfreeze(model, boundary)
    config = TrainConfig(steps=90)
    fit.fit(model, learning, [said], [], stream, boundary, config, quiet, tmp_path / "begun")
    with torch.no_grad():
        inputs, labels = fit.padded(said)
        clips = fit.logits_of(model, inputs, boundary)
        other = fit.logits_of(model, torch.from_numpy(stream[None, :400]).float(), boundary)
    assert clips[labels == 1].mean() > other[:, 50:].mean() + 2


def fitted(small_model, folder, parts=(), stream=None, **settings):
    """A model after 60 steps on one phrase, its encoder frozen."""
    model = small_model(0, HeadSizes(depth=2, channels=8))
    config = TrainConfig(**{"steps": 60, "batch": 6, "learning_rate": 0.02, "phrases": (Phrase("abc"),), **settings})
    stream = made_stream() if stream is None else stream
    fit.fit(model, [], made_examples(1), list(parts), stream, BOUNDARY, config, quiet, folder / "begun")
    return model


@torch.no_grad()
def mean_logit(model, frames) -> float:
    return float(fit.logits_of(model, torch.from_numpy(frames[None]).float(), BOUNDARY).mean())


@pytest.mark.parametrize(("hard", "count"), [(0.0, 0), (0.5, 3), (1.0, 6)])
def test_the_share_asked_for_of_the_windows_lies_around_hard_negatives(small_model, tmp_path, monkeypatch, hard, count):
    stream, place, found = made_stream(), 1500, []
    stream[:, 0] = np.arange(len(stream)) / 8  # exact in float16
    stream[:, 0] = np.where(np.arange(len(stream)) == place, 500, 0)
    monkeypatch.setattr(fit, "hardest", lambda *given: np.array([place]))
    whole = fit.hidden_of_each

    def watch(model, batches, boundary):
        warm = fit.memory_frames(model.encoder, boundary) + model.head.memory_frames
        found.append(int((batches[1][:, warm:, 0] == 500).any(dim=1).sum()))
        return whole(model, batches, boundary)

    monkeypatch.setattr(fit, "hidden_of_each", watch)
    fitted(small_model, tmp_path, stream=stream, hard=hard)
    assert max(found[:50]) < 3, "before the first look windows are drawn from all over"
    assert min(found[50:]) >= count and max(found[50:]) <= min(6, count + 2), found


def test_parts_of_the_phrase_are_learnt_as_negatives(small_model, tmp_path):
    offset = np.random.default_rng(5).standard_normal(DIMS).astype(np.float16)
    parts = [[Example(each.frames + offset, np.zeros_like(each.labels)) for each in made_examples(1, 6, seed=2)[0]]]
    with_parts, without = (fitted(small_model, tmp_path, parts=each) for each in (parts, ()))
    other = made_stream(9, 400) + offset
    assert mean_logit(with_parts, other) < mean_logit(without, other) - 0.5


def test_the_loss_is_the_one_that_is_asked_for(small_model, tmp_path, monkeypatch):
    asked, taken, take = [], [], fit.Steps.take
    for name, value in (("phrase_loss", 2.0), ("other_loss", 1.0)):
        monkeypatch.setattr(
            fit, name, lambda logits, *given, value=value: asked.append(given) or logits.sum() * 0 + value
        )
    monkeypatch.setattr(fit.Steps, "take", lambda self, step, loss: taken.append(loss.item()) or take(self, step, loss))
    fitted(small_model, tmp_path, loss="focal", smoothing=0.1, negative_weight=0.25, steps=1)
    assert asked[0][1:] == ("focal", 0.1) and asked[1] == ("focal",) and taken == [2.25]


def test_spelling_beside_the_loss_changes_what_the_head_learns(small_model, tmp_path):
    plain, spelled = (fitted(small_model, tmp_path, ctc=ctc).head.state_dict() for ctc in (0.0, 0.5))
    assert not torch.allclose(plain["narrow.0.weight"], spelled["narrow.0.weight"], atol=1e-3)


def test_the_average_of_the_steps_is_left_unless_it_is_off(small_model):
    for average in (True, False):
        model = small_model(0)
        steps = Steps(model, [], TrainConfig(steps=40, average=average, learning_rate=0.05))
        bias, means = model.head.output.bias, []
        for step in range(40):
            steps.begin(step)
            steps.take(step, model.head(torch.ones(1, 1, 40), torch.zeros(1, model.head.stack.state_size))[0].sum())
            means.append(bias.detach().clone())
        steps.finish()
        last, between = means[-1], min(means) < bias < max(means)
        assert torch.equal(bias.detach(), last) != average and between or not average


def test_an_interrupted_training_without_negatives_goes_on_too(small_model, tmp_path):
    def steps_of(kill: bool) -> int:
        fractions = []

        def told(stage, fraction):
            fractions.append(fraction)
            if kill and fraction > 0.9:
                raise Killed

        with contextlib.suppress(Killed):
            model, data = small_model(0, HeadSizes(depth=2, channels=8)), (made_examples(1), [], made_stream(frames=0))
            fit.fit(model, [], *data, BOUNDARY, TrainConfig(steps=60, batch=4), told, tmp_path / "begun")
        return len(fractions)

    assert steps_of(kill=True) == 55 and steps_of(kill=False) == 10


def test_what_was_begun_on_other_weights_is_not_gone_on_with(small_model, tmp_path):
    """Where the whole encoder trains, nothing else tells them apart: the examples are features."""

    def steps_of(seed: int, kill: bool) -> int:
        fractions, model = [], small_model(seed, HeadSizes(depth=2, channels=8))

        def told(stage, fraction):
            fractions.append(fraction)
            if kill and fraction > 0.9:
                raise Killed

        config, data = TrainConfig(steps=60, batch=4), (made_examples(1, dims=64), [], made_stream(dims=64))
        with contextlib.suppress(Killed):
            fit.fit(model, unfreeze(model, 0), *data, 0, config, told, tmp_path / "begun")
        return len(fractions)

    assert steps_of(0, kill=True) > 50 and steps_of(0, kill=True) < 10, "it goes on"
    assert steps_of(1, kill=False) == 60


def test_negatives_shorter_than_a_window_train_too(small_model, tmp_path):
    """Not only those from which a window can be cut."""
    stream, told = made_stream(frames=30), []
    for negatives in (stream, stream[:0]):
        model = small_model(0, HeadSizes(depth=2, channels=8))
        config = TrainConfig(steps=60, batch=6, hard=0.5)
        fit.fit(model, [], made_examples(1), [], negatives, BOUNDARY, config, quiet, tmp_path / "begun")
        with torch.no_grad():
            told.append(float(fit.logits_of(model, torch.from_numpy(stream[None]).float(), BOUNDARY).mean()))
    assert told[0] < told[1] - 0.5, told


def test_a_pretrained_encoder_rests_at_first_and_one_from_scratch_or_retrained_does_not(small_model):
    config = TrainConfig(steps=90, learning_rate=0.1, encoder_learning_rate=0.01)
    for at_once, makes in (
        (False, partial(unfreeze, boundary=BOUNDARY)),
        (True, partial(from_scratch, seed=0)),
        (True, retrain),
    ):
        model = small_model(0)
        parameters = makes(model)
        steps, seen = Steps(model, parameters, config), []
        for step in range(config.steps):
            steps.begin(step)
            head, encoder = (group["lr"] for group in steps.optimizer.param_groups)
            seen.append((head, encoder, all(p.requires_grad for p in parameters)))
        trains = [step for step, (_, rate, free) in enumerate(seen) if rate > 0 and free]
        assert trains == list(range(0 if at_once else 30, 90))
        head, encoder, _ = seen[-1]
        assert encoder == pytest.approx(head if at_once else head / 10) and 0 < head < 0.0025


class Killed(Exception):
    pass


@pytest.mark.parametrize(("boundary", "scratch", "ctc"), [(BOUNDARY, False, 0.3), (0, True, 0.0)])
def test_an_interrupted_training_of_several_phrases_goes_on_to_the_same_weights(
    small_model, tmp_path, boundary, scratch, ctc
):
    dims = 64 if scratch else DIMS

    def run(begun, progress, config, looks=None):
        model = small_model(0, HeadSizes(depth=3, channels=8, outputs=3))
        fit.fit(
            model,
            from_scratch(model, 0) if scratch else unfreeze(model, boundary),
            made_examples(3, dims=dims),
            made_examples(3, each=4, dims=dims),
            made_stream(dims=dims),
            boundary,
            config,
            progress,
            begun,
            None if looks is None else lambda: looks.append((model.encoder.training, model.head.training)),
        )
        return model.state_dict()

    def kill(stage, fraction):
        if fraction > 0.7:
            raise Killed

    config = TrainConfig(steps=120, batch=4, ctc=ctc, phrases=tuple(map(Phrase, ("abc", "de", "fgh"))))
    whole, looks = run(tmp_path / "whole", quiet, config), []
    with pytest.raises(Killed):
        run(tmp_path / "begun", kill, config)
    assert (tmp_path / "begun").exists()
    fractions = []
    again = run(tmp_path / "begun", lambda stage, fraction: fractions.append(fraction), config, looks)
    assert looks == [], "it had gone on beyond the third"
    assert len(fractions) == 70 - 50 + 50
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
    watched = run(tmp_path / "watched", quiet, config, looks)
    assert looks == [(False, False)] and all(torch.equal(value, watched[name]) for name, value in whole.items())
    assert again.keys() == small_model(0, HeadSizes(depth=3, channels=8, outputs=3)).state_dict().keys()
    norm = "encoder.stem.1.running_mean"
    assert torch.equal(whole[norm], small_model(0).state_dict()[norm]) != scratch, "only new statistics are learnt"
