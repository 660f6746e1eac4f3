import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from wakeword.acoustic.acoustic_file import load_acoustic, save_acoustic  # noqa: E402
from wakeword.acoustic.encoder import SIZES, AcousticModel, Encoder, EncoderSizes, fold_norm  # noqa: E402
from wakeword.errors import ConfigError  # noqa: E402
from wakeword.export import folded  # noqa: E402
from wakeword.features import log_mel  # noqa: E402
from wakeword.head.layers import Head, HeadSizes, WakeModel  # noqa: E402

STEPS = st.lists(st.integers(1, 12), min_size=1, max_size=15)


def frames_of(seed, batch, steps, mels):
    return torch.randn(batch, 4 * steps, mels, generator=torch.Generator().manual_seed(seed))


@st.composite
def encoder_sizes(draw):
    dilations = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    taps = sorted({*draw(st.sets(st.integers(1, len(dilations)))), len(dilations)})
    return EncoderSizes(
        mels=6,
        stem=5,
        channels=7,
        kernel=draw(st.integers(2, 5)),
        separable=draw(st.booleans()),
        dilations=dilations,
        taps=tuple(taps),
    )


@given(sizes=encoder_sizes(), steps=STEPS, batch=st.integers(1, 3))
@torch.no_grad()
def test_encoder_steps_of_any_size_give_what_the_whole_gives(lively, sizes, steps, batch):
    encoder = lively(Encoder(sizes))
    x = frames_of(1, batch, sum(steps), sizes.mels)
    whole = encoder(x)
    state, found = encoder.initial_state(batch), []
    for piece in x.split([4 * n for n in steps], dim=1):
        taps, state = encoder.step(piece, state)
        assert state.shape == encoder.initial_state(batch).shape
        found.append(taps)
    assert len(whole) == len(sizes.taps)
    for index, tap in enumerate(whole):
        assert tap.shape == (batch, sum(steps), sizes.channels)
        torch.testing.assert_close(torch.cat([taps[index] for taps in found], dim=1), tap, atol=1e-5, rtol=1e-5)


@given(
    depth=st.integers(0, 5), separable=st.booleans(), outputs=st.integers(1, 4), steps=STEPS, batch=st.integers(1, 2)
)
@settings(max_examples=50)
@torch.no_grad()
def test_wake_model_steps_of_any_size_give_what_the_whole_gives(small_model, depth, separable, outputs, steps, batch):
    model = small_model(2, HeadSizes(depth=depth, channels=6, separable=separable, outputs=outputs))
    x = frames_of(3, batch, sum(steps), 16)
    whole = model(x)
    state, found = model.initial_state(batch), []
    for piece in x.split([4 * n for n in steps], dim=1):
        logits, state = model.step(piece, state)
        found.append(logits)
    assert whole.shape == (batch, sum(steps), outputs)
    torch.testing.assert_close(torch.cat(found, dim=1), whole, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_an_empty_step_gives_nothing_and_changes_nothing(small_model):
    model = small_model()
    _, state = model.step(frames_of(4, 1, 5, 16), model.initial_state())
    logits, after = model.step(torch.zeros(1, 0, 16), state)
    assert logits.shape == (1, 0, 1)
    torch.testing.assert_close(after, state, atol=0, rtol=0)


@torch.no_grad()
def test_the_named_sizes_stream_too(lively):
    for sizes in SIZES.values():
        model = lively(WakeModel(sizes, HeadSizes()))
        x = frames_of(5, 1, 60, sizes.mels)
        state, found = model.initial_state(), []
        for piece in x.split([4, 4, 28, 120, 40, 44], dim=1):
            logits, state = model.step(piece, state)
            found.append(logits)
        whole = model(x)
        torch.testing.assert_close(torch.cat(found, dim=1), whole, atol=1e-4, rtol=1e-5)
        assert whole.std() > 0.01, "a dead model proves nothing"


@given(cut=st.integers(0, 30), seed=st.integers(0, 5))
@torch.no_grad()
def test_the_future_changes_nothing(small_model, cut, seed):
    model = small_model(seed)
    x = frames_of(seed, 1, 30, 16)
    changed = x.clone()
    changed[:, 4 * cut :] += 10
    before, after = model(x)[0, :cut], model(changed)[0, :cut]
    torch.testing.assert_close(before, after, atol=1e-6, rtol=1e-6)
    if cut < 30:
        assert not torch.allclose(model(x)[0, cut:], model(changed)[0, cut:])


@pytest.mark.parametrize(("name", "hop"), [*((name, 160) for name in (*SIZES, "small", "one")), ("small", 80)])
def test_the_receptive_field_is_as_long_as_stated(lively, small_sizes, name, hop):
    sizes = {"small": small_sizes, "one": EncoderSizes(stem=8, channels=8, dilations=(3,), taps=(1,)), **SIZES}[name]
    encoder = lively(Encoder(sizes))
    with torch.no_grad():  # positive weights: no contribution can cancel, none is cut off by a ReLU
        for parameter in encoder.parameters():
            parameter.abs_()
    settings = log_mel.FeatureSettings(hop=hop)
    field = encoder.receptive_field_s(settings)
    last = int(field / settings.frame_s) + 20
    x = frames_of(6, 1, last + 4, sizes.mels).abs().requires_grad_()
    encoder(x)[-1][0, last].sum().backward()
    heard = x.grad[0].abs().sum(1).nonzero().flatten()
    # The first feature frame heard begins a window (25 ms) before its end; the last ends with the output frame.
    first_sample = settings.hop * (int(heard[0]) + 1) - settings.window
    last_sample = settings.hop * (int(heard[-1]) + 1)
    assert (last_sample - first_sample) / settings.sample_rate == pytest.approx(field)
    assert int(heard[-1]) == 4 * last + 3, "an output frame ends with its fourth feature frame"


@pytest.mark.parametrize("hop", [80, 160])
@torch.no_grad()
def test_sound_older_than_the_receptive_field_is_forgotten(lively, small_sizes, speech_like, hop):
    encoder = lively(Encoder(small_sizes))
    settings = log_mel.FeatureSettings(mels=16, hop=hop)
    samples = speech_like(4)
    output = 90  # complete after 3.64 s, or 1.82 s
    end = 4 * hop * (output + 1)
    begin = end - round(encoder.receptive_field_s(settings) * 16000)
    heard = lambda s: encoder(torch.from_numpy(log_mel.extract(s, settings))[None])[-1][0, output]  # noqa: E731
    other = samples.copy()
    other[:begin], other[end:] = speech_like(4, 9)[:begin], 0.5
    torch.testing.assert_close(heard(other), heard(samples), atol=1e-5, rtol=1e-5)
    other[begin : begin + 400] += 0.9
    assert not torch.allclose(heard(other), heard(samples), atol=1e-4)


def test_head_memory_is_as_long_as_stated(small_model):
    for depth in range(5):
        head = small_model(0, HeadSizes(depth=depth, channels=6)).head
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.abs_()
        x = torch.rand(1, 60, 40).add_(1).requires_grad_()
        head(x, torch.zeros(1, head.stack.state_size))[0][0, 40].backward()
        heard = x.grad[0].abs().sum(1).nonzero().flatten()
        assert (int(heard[0]), int(heard[-1])) == (40 - head.memory_frames, 40)


def test_the_named_sizes_keep_their_limits():
    count = {name: sum(p.numel() for p in AcousticModel(sizes, 29).parameters()) for name, sizes in SIZES.items()}
    assert 1_500_000 < count["base"] <= 3_000_000
    assert 100_000 < count["micro"] <= 300_000


@given(seed=st.integers(0, 1000), bias=st.booleans(), scale=st.sampled_from([0.01, 1.0, 100.0]))
@torch.no_grad()
def test_folding_a_normalisation_changes_nothing(lively, seed, bias, scale):
    pair = lively(torch.nn.Sequential(torch.nn.Linear(9, 7, bias=bias), torch.nn.BatchNorm1d(7)), seed)
    pair[1].running_var.mul_(scale)
    x = torch.randn(50, 9, generator=torch.Generator().manual_seed(seed))
    expected = pair(x)
    torch.testing.assert_close(fold_norm(pair[0], pair[1])(x), expected, atol=3e-6 / scale**0.5, rtol=1e-5)


@torch.no_grad()
def test_a_folded_model_is_the_model_without_its_normalisations(small_model):
    for depth in (0, 1, 4):
        model = small_model(1, HeadSizes(depth=depth, channels=6))
        kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        lean = folded(model)
        x = frames_of(7, 2, 50, 16)
        torch.testing.assert_close(lean(x), model(x), atol=1e-5, rtol=1e-5)
        left = [m for m in lean.modules() if isinstance(m, torch.nn.BatchNorm1d)]
        assert left == [lean.head.standardise]
        assert all(torch.equal(kept[name], tensor) for name, tensor in model.state_dict().items())


def test_log_probs_are_normalised(lively, small_sizes):
    model = lively(AcousticModel(small_sizes, 29, teacher=5))
    found = model.log_probs(frames_of(8, 2, 10, 16))
    assert found.shape == (2, 10, 29)
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(2, 10))


def test_a_batch_in_training_is_normalised_over_its_frames(small_sizes):
    encoder = Encoder(small_sizes).train()
    before = encoder.widen[1].running_mean.clone()
    encoder(frames_of(9, 2, 20, 16))
    assert not torch.equal(encoder.widen[1].running_mean, before)


@pytest.mark.parametrize("taps", [(), (4, 1), (1, 1), (1, 4, 4), (0, 4), (-1, 4), (1, 5), (1, 3)])
def test_taps_that_do_not_rise_to_the_last_block_are_refused(taps):
    with pytest.raises(ConfigError, match=r"taps = .*rising order.* 4 \("):
        EncoderSizes(dilations=(1, 1, 1, 1), taps=taps)


@pytest.mark.parametrize(
    "wrong", [{"mels": 0}, {"stem": -1}, {"channels": 0}, {"kernel": 1}, {"dilations": (1, 0), "taps": (2,)}]
)
def test_sizes_below_one_are_refused(wrong):
    with pytest.raises(ConfigError, match="1 or more"):
        EncoderSizes(**wrong)


def test_an_untrained_head_expects_silence():
    torch.manual_seed(0)
    head = Head(20, HeadSizes())
    logits, _ = head(torch.randn(4, 50, 20), torch.zeros(4, head.stack.state_size))
    assert np.median(torch.sigmoid(logits).detach()) < 0.25


@pytest.mark.parametrize("name", ["micro", "base"])
@torch.no_grad()
def test_weights_in_16_bits_hardly_change_what_a_model_says(lively, speech_like, tmp_path, name):
    """float16 keeps 11 bits of a weight. Of random weights, frames move by up to 0.4 % of their spread and tokens'
    probabilities by up to 0.002; with bfloat16's 8 bits, by eight times that.
    """
    torch.manual_seed(0)
    model = lively(AcousticModel(SIZES[name], 29), 3)
    save_acoustic(tmp_path / "m.safetensors", model, log_mel.FeatureSettings(), {})
    written, _ = load_acoustic(tmp_path / "m.safetensors")
    heard = torch.from_numpy(log_mel.extract(speech_like(4.0, 1)))[None]
    for before, after in zip(model.encoder(heard), written.encoder(heard), strict=True):
        assert 0 < float((after - before).abs().max()) < 8e-3 * float(before.std())
    difference = written.log_probs(heard).exp() - model.log_probs(heard).exp()
    assert float(difference.abs().max()) < 5e-3
