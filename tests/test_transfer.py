from __future__ import annotations

import dataclasses

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from wakeword.acoustic.encoder import SIZES, AcousticModel, Encoder, EncoderSizes  # noqa: E402
from wakeword.errors import ConfigError, ModelError  # noqa: E402
from wakeword.features.log_mel import FeatureSettings  # noqa: E402
from wakeword.head.layers import HeadSizes, WakeModel  # noqa: E402
from wakeword.head.transfer import (  # noqa: E402
    Unfreeze,
    choose_unfreeze,
    from_scratch,
    load_wakeword,
    lower,
    memory_frames,
    save_wakeword,
    stacked,
    trainable,
    unfreeze,
    upper,
)
from wakeword.model import checkpoint  # noqa: E402

WIDE = SIZES["base"]


@st.composite
def encoders(draw):
    dilations = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=5)))
    taps = tuple(sorted({*draw(st.sets(st.integers(1, len(dilations)))), len(dilations)}))
    return EncoderSizes(mels=6, stem=5, channels=7, dilations=dilations, taps=taps)


@given(sizes=encoders(), steps=st.integers(1, 25), batch=st.integers(1, 3))
@torch.no_grad()
def test_lower_and_upper_are_the_encoder_at_every_boundary(lively, sizes, steps, batch):
    encoder = lively(Encoder(sizes))
    features = torch.randn(batch, 4 * steps, 6, generator=torch.Generator().manual_seed(1))
    expected = torch.cat(encoder(features), dim=-1)
    for boundary in range(len(sizes.dilations) + 1):
        cached = lower(encoder, features, boundary)
        assert cached.shape[:2] == (batch, steps)
        found = upper(encoder, cached, boundary)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@given(sizes=encoders(), data=st.data())
@torch.no_grad()
def test_upper_remembers_as_much_as_stated(lively, sizes, data):
    """A piece of what `lower` gave, begun `memory_frames` early, is enough: cutting before that changes nothing."""
    encoder = lively(Encoder(sizes))
    boundary = data.draw(st.integers(1, len(sizes.dilations)))
    cached = lower(encoder, torch.randn(1, 240, 6, generator=torch.Generator().manual_seed(2)), boundary)
    whole = upper(encoder, cached, boundary)
    first = memory_frames(encoder, boundary)
    start = 5
    part = upper(encoder, cached[:, start:], boundary)
    torch.testing.assert_close(part[:, first:], whole[:, start + first :], atol=1e-5, rtol=1e-5)


def test_gradients_reach_what_trains_and_nothing_else(small_model):
    for boundary in range(5):
        model = small_model(2)
        trainable = unfreeze(model, boundary)
        features = torch.randn(2, 80, 16, generator=torch.Generator().manual_seed(3))
        with torch.no_grad():
            cached = lower(model.encoder, features, boundary)
        logits, _ = model.head(upper(model.encoder, cached, boundary), torch.zeros(2, model.head.stack.state_size))
        logits.sum().backward()
        for name, parameter in model.encoder.named_parameters():
            trains = any(parameter is each for each in trainable)
            assert parameter.requires_grad == trains
            block = int(name.split(".")[2]) + 1 if name.startswith("stack.blocks") else 0
            assert trains == (block > boundary or boundary == 0), name
            assert (parameter.grad is not None) == trains, name
        assert all(p.grad is not None for p in model.head.parameters())


def test_the_whole_encoder_stays_in_eval_mode_and_keeps_its_statistics(small_model):
    for boundary in range(5):
        model = small_model(4).train()
        unfreeze(model, boundary)
        assert not any(module.training for module in model.encoder.modules())
        assert model.head.training
        before = {name: value.clone() for name, value in model.encoder.named_buffers()}
        model(torch.randn(2, 80, 16))
        assert all(torch.equal(before[name], value) for name, value in model.encoder.named_buffers())


def test_unfreezing_again_less_freezes_the_rest(small_model):
    model = small_model()
    assert len(unfreeze(model, 0)) == len(list(model.encoder.parameters()))
    assert unfreeze(model, 4) == []
    assert not any(parameter.requires_grad for parameter in model.encoder.parameters())
    assert len(unfreeze(model, 3)) == 6  # one block: its two products, scale and shift of their normalisations


@pytest.mark.parametrize(
    ("wanted", "clips", "boundary"),
    [
        ("auto", 0, 10),
        ("auto", 59, 10),
        ("auto", 60, 7),
        ("auto", 1999, 7),
        ("auto", 2000, 0),
        ("auto", 10**6, 0),
        ("none", 10**6, 10),
        ("all", 1, 0),
        ("scratch", 10**6, 0),
        ("retrain", 1, 0),
        ("0", 5, 10),
        ("1", 5, 9),
        ("9", 5, 1),
    ],
)
def test_what_is_unfrozen_goes_by_the_wish_and_the_clips(wanted, clips, boundary):
    chosen = choose_unfreeze(wanted, clips, WIDE)
    assert chosen.boundary == boundary
    assert (chosen.scratch, chosen.retrain) == (wanted == "scratch", wanted == "retrain")
    assert ("auto" in chosen.reason) == (wanted == "auto") and (str(clips) in chosen.reason) == (wanted == "auto")


def test_of_few_blocks_no_more_than_there_are_are_freed():
    assert choose_unfreeze("auto", 500, dataclasses.replace(WIDE, dilations=(1, 1), taps=(2,))).boundary == 0


@pytest.mark.parametrize(("clips", "boundary"), [(0, 10), (8, 10), (9, 0), (10**6, 0)])
def test_a_narrow_encoder_is_unfrozen_as_a_whole(clips, boundary):
    chosen = choose_unfreeze("auto", clips, dataclasses.replace(WIDE, channels=256))
    assert chosen.boundary == boundary and str(clips) in chosen.reason and "9" in chosen.reason


def test_spoken_clips_count_on_a_narrow_encoder_alone():
    narrow = dataclasses.replace(WIDE, channels=256)
    assert choose_unfreeze("auto", 3, narrow, spoken=5).boundary == 10
    assert choose_unfreeze("auto", 3, narrow, spoken=6).boundary == 0
    assert choose_unfreeze("auto", 3, WIDE, spoken=10**6).boundary == 10


def test_from_scratch_nothing_of_the_pretrained_encoder_is_left_and_all_of_it_trains(small_model):
    model, before = small_model(3), {name: value.clone() for name, value in small_model(3).state_dict().items()}
    unfreeze(model, 2)
    torch.manual_seed(5)
    following = torch.rand(1)
    torch.manual_seed(5)
    parameters = trainable(model, Unfreeze(0, "", scratch=True), 1)
    assert torch.equal(torch.rand(1), following), "the head's random numbers hang on it"
    assert len(parameters) == len(list(model.encoder.parameters())) and all(p.requires_grad for p in parameters)
    assert all(module.training for module in model.encoder.modules())
    after = model.state_dict()
    products = [name for name in after if name.startswith("encoder") and after[name].dim() > 1]
    assert len(products) == 10 and not any(torch.equal(after[name], before[name]) for name in products)
    assert all(
        float(value.abs().max()) == 0 for name, value in after.items() if name.endswith("encoder.stem.1.running_mean")
    )
    assert all(torch.equal(after[name], before[name]) for name in after if name.startswith("head"))
    first = {name: value.clone() for name, value in after.items()}
    from_scratch(model, 1)
    assert all(torch.equal(first[name], value) for name, value in model.state_dict().items())
    from_scratch(model, 2)
    assert not torch.equal(first[products[0]], model.state_dict()[products[0]])


def test_retrained_an_encoder_keeps_its_weights_and_all_of_it_trains(small_model):
    model, before = small_model(3), {name: value.clone() for name, value in small_model(3).state_dict().items()}
    unfreeze(model, 2)
    parameters = trainable(model, Unfreeze(0, "", retrain=True), 1)
    assert len(parameters) == len(list(model.encoder.parameters())) and all(p.requires_grad for p in parameters)
    assert all(module.training for module in model.encoder.modules())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@given(st.one_of(st.text(), st.sampled_from(["10", "11", "-1", "1.5", "AUTO", "", "²", "①", " 1", "1_0", "１２"])))
def test_other_wishes_are_config_errors(wanted):
    try:
        chosen = choose_unfreeze(wanted, 500, WIDE)
    except ConfigError as error:
        assert "auto, none, all" in str(error)
    else:
        assert wanted in ("auto", "none", "all", "retrain", "scratch") or (
            wanted.isdecimal() and chosen.boundary == 10 - int(wanted)
        )


@pytest.fixture
def acoustic_file(tmp_path, lively, small_sizes):
    model = lively(AcousticModel(small_sizes, 29), 3)
    meta = {
        "sizes": dataclasses.asdict(small_sizes),
        "features": dataclasses.asdict(FeatureSettings(mels=16)),
        "tokens": list("x" * 29),
        "card": {"name": "small"},
    }
    checkpoint.save(tmp_path / "small.safetensors", model.state_dict(), "acoustic", meta)
    return tmp_path / "small.safetensors", model


@torch.no_grad()
def test_the_output_layers_come_off_and_the_encoder_stays(acoustic_file):
    path, acoustic = acoustic_file
    model, meta = stacked(path, HeadSizes(depth=2, channels=5))
    assert meta["card"] == {"name": "small"} and meta["features"]["mels"] == 16
    assert not any("ctc" in name or "teacher" in name for name in model.state_dict())
    features = torch.randn(1, 40, 16)
    for mine, theirs in zip(model.eval().encoder(features), acoustic.encoder(features), strict=True):
        torch.testing.assert_close(mine, theirs, atol=0, rtol=0)
    assert model.head.standardise.num_features == 40


def test_no_acoustic_model_is_a_model_error(tmp_path, model_files):
    for name in ("nothing", tmp_path, model_files[0], model_files[1]):
        with pytest.raises(ModelError):
            stacked(name, HeadSizes())


@given(depth=st.integers(0, 5), channels=st.integers(1, 9), outputs=st.integers(1, 4), seed=st.integers(0, 9))
def test_a_trained_model_comes_back_bit_for_bit(
    tmp_path_factory, small_model, wake_meta, depth, channels, outputs, seed
):
    model = small_model(seed, HeadSizes(depth, channels, outputs=outputs))
    path = tmp_path_factory.mktemp("again") / "m.wakeword"
    meta = wake_meta(said=("a", "b", "c", "d")[:outputs])
    save_wakeword(path, model, meta)
    again, told = load_wakeword(path)
    assert not again.training and told["phrases"] == meta["phrases"]
    assert (again.encoder.sizes, again.head.sizes) == (model.encoder.sizes, model.head.sizes)
    expected = model.state_dict()
    assert set(expected) == set(again.state_dict())
    assert all(torch.equal(expected[name], value) for name, value in again.state_dict().items())


def test_the_model_that_ships_stays_small():
    sizes = [sum(p.numel() for p in WakeModel(SIZES["base"], HeadSizes(outputs=n)).head.parameters()) for n in (1, 10)]
    assert sizes[0] < 100_000 and sizes[1] - sizes[0] == 9 * (48 + 1)
