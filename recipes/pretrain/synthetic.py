"""Synthetic speech for pretraining: `python recipes/pretrain/synthetic.py --hours 4`, from the repository's root.

The installed text-to-speech voices (data_prep.voices), each varied in tempo, pitch and formants, say everyday sentences
and random words of the CMU dictionary, so that rare sounds come too. Four hours are 3,600 sentences: in these, by the
usual pronunciations and across the words of a sentence, 339 of the 1,521 possible pairs of phones never come; the 668
pairs that come 100 times or more in the dictionary all do, and all but 3 of them at least 5 times. The manifest goes
beside those of prepare.py, with the transcripts, so that it can train with CTC too.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from data_prep.sentences import SENTENCES
from data_prep.synthesise import matching, synthesise_speech
from data_prep.voices import installed_voices
from wakeword.acoustic.lexicon import frequent_words
from wakeword.cli import bar, exit_status, number
from wakeword.files import replacing

ENGINES = ("hibari", "espeak", "flite", "festival")
"""Those that speak fast enough for it. (`--engines kokoro` is not: 1.2 to 1.9 s of speech a CPU second on an AMD EPYC;
hibari-tts makes 36.)"""

CLIP_S = 4.0
"""What a clip lasts, about."""


def random_sentences(count: int, seed: int) -> list[str]:
    """Three to nine random words each, the frequent ones more often, by the root of how often they come."""
    per_million = frequent_words()
    words = sorted(word for word in per_million if len(word) > 1)
    chance = np.sqrt([per_million[word] for word in words])
    rng = np.random.default_rng([seed, 1])
    return [" ".join(rng.choice(words, size=rng.integers(3, 10), p=chance / chance.sum())) for _ in range(count)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=number(float, above=0), default=4.0)
    parser.add_argument("--engines", help=f"those that speak (what is installed of {','.join(ENGINES)})")
    parser.add_argument("--clips", type=Path, default=Path("exp/synthetic"), help="where the audio goes")
    parser.add_argument("--out", type=Path, default=Path("exp/manifests"), help="where the manifest goes")
    parser.add_argument("--seed", type=number(least=0), default=0)
    args = parser.parse_args()
    return exit_status(lambda: synthetic(args), "synthetic")


def synthetic(args: argparse.Namespace) -> None:
    """Make the speech and its manifest."""
    voices = [voice for voice in installed_voices() if voice.engine in ENGINES]
    if args.engines or not voices:
        voices = matching(args.engines or ",".join(ENGINES), "--engines")
    count = max(1, round(args.hours * 3600 / CLIP_S))
    said = [*SENTENCES, *random_sentences(max(0, count - len(SENTENCES)), args.seed)]
    shown = bar()
    made = synthesise_speech(
        said, args.clips, count, args.seed, voices=voices, progress=lambda done, n: shown("speech", done / n)
    )
    with replacing(args.out / "synthetic_cuts.jsonl.gz") as temporary:
        temporary.write_bytes(made.manifest.read_bytes())
    print(f"{len(made.paths)} clips in {len(made.by_voice)} voices. {made.skipped.summary()}")


if __name__ == "__main__":
    sys.exit(main())
