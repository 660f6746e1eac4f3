"""The study of pretraining: its variants are runs that differ, its lines and its table."""

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("lhotse")

from wakeword.errors import ConfigError  # noqa: E402

ROOT = Path(__file__).parents[1]


@pytest.fixture
def study(monkeypatch):
    monkeypatch.chdir(ROOT)
    for name in ("run", "study"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "path", [str(ROOT / "recipes" / "pretrain"), *sys.path])
    import study

    yield study
    for name in ("run", "study"):
        sys.modules.pop(name, None)


def line(variant: str, seed: int, miss: float) -> dict:
    missed = {"alexa": {"clean": {"0.5": miss}}, "jarvis": {"clean": {"0.5": miss + 0.1}}}
    return {"variant": variant, "seed": seed, "held_out": {"cer": 0.5}, "missed": missed}


def test_each_variant_is_a_run_of_its_own_with_as_many_steps(study):
    read = study.read_study(ROOT / "recipes" / "pretrain" / "study.toml")
    runs = [study.pretraining_of(read, variant, seed) for variant in read.variants for seed in read.seeds]
    assert len({run.output for run in runs}) == len({run.folder for run in runs}) == len(runs) >= 30
    assert len({sum(stage.steps for stage in run.stages) for run in runs}) == 1
    bare = {repr(run).replace(run.folder, "").replace(run.card, "") for run in runs}
    assert len(bare) == len(runs), "two variants are the same run"


@pytest.mark.parametrize(
    ("changes", "named"),
    [("delay_frames = -1", "delay_frames = -1: must be"), ("dilay_frames = 1", "unknown key 'dilay_frames'")],
)
def test_a_variant_that_cannot_work_is_named(study, tmp_path, changes, named):
    path = tmp_path / "study.toml"
    path.write_text(
        'pretraining = "recipes/pretrain/micro.toml"\nwords_config = "recipes/one_hour/config.toml"\n'
        f'[[variants]]\nname = "odd"\nchanges = {{ {changes} }}\n'
    )
    with pytest.raises(ConfigError, match=f"variant 'odd'.*{named}"):
        study.read_study(path)


def test_misses_are_those_of_hindsight(study):
    def point(origin: str, rate: float, miss: float) -> dict:
        return {"chosen_on": origin, "asked_fa_per_hour": rate, "conditions": {"clean": {"miss_rate": miss}}}

    report = {
        "operating_points": [
            point("2 h of development negatives", 0.5, 0.9),
            point("these very negatives, in hindsight", 0.5, 0.2),
            point("these very negatives, in hindsight", 0.1, 0.3),
        ]
    }
    assert study.misses(report) == {"clean": {"0.5": 0.2, "0.1": 0.3}}


def test_lines_add_up_and_the_table_is_their_mean_and_range(study, tmp_path):
    lines = tmp_path / "study.jsonl"
    for made in (line("distil", 1, 0.1), line("distil", 2, 0.3), line("ctc", 1, 0.5)):
        study.add_line(made, lines)
    assert [json.loads(row)["seed"] for row in lines.read_text().splitlines()] == [1, 2, 1]
    read = study.read_study(ROOT / "recipes" / "pretrain" / "study.toml")
    head, _, distil, ctc = study.table(read, study.read_lines(lines))
    assert "missed, clean, 0.5 FA/h" in head
    assert "| 2 | 25.0% (15.0%–35.0%) | 50% |" in distil and "| 1 | 55.0% | 50% |" in ctc

    results = tmp_path / "RESULTS.md"
    results.write_text("# Before\n\nkept\n")
    for _ in range(2):
        study.write_section(read, study.read_lines(lines), results)
    assert results.read_text().count(study.HEADING) == 1 and results.read_text().startswith("# Before\n\nkept\n")
