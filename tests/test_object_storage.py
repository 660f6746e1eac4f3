"""Shards in object storage: the real client against an S3 server in a process of its own, which checks signatures."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from socket import create_connection
from socketserver import BaseRequestHandler, ThreadingTCPServer

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lhotse")
boto3 = pytest.importorskip("boto3", reason="NO S3 CLIENT: boto3 is absent, nothing was read from object storage")
pytest.importorskip("smart_open", reason="NO S3 CLIENT: smart_open is absent, nothing was read from object storage")
pytest.importorskip("moto", reason="NO S3 SERVER: moto is absent, nothing was read from object storage")

from running import Running  # noqa: E402

from wakeword.cli import main  # noqa: E402
from wakeword.errors import WakewordError  # noqa: E402
from wakeword.model import checkpoint  # noqa: E402
from wakeword.pretraining import pretrain  # noqa: E402
from wakeword.pretraining.data import Source  # noqa: E402
from wakeword.pretraining.shards import Shards, read_index  # noqa: E402

SERVER = """
import os
os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "3"  # what makes the credentials; all after that must be signed with them
from moto.server import main
main(["-H", "127.0.0.1", "-p", "0"])
"""

POLICY = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}

CONFIG = """
output = "{to}/tiny.safetensors"
folder = "{to}/run"
teacher = "fake"
delay_frames = 1
held_out = 0.2
batch_seconds = 40.0
workers = {workers}
threads = 1
device = "cpu"
settle_batches = 2
checkpoint_every = 4
validate_every = 7
sizes = {{ mels = 16, stem = 16, channels = 24, dilations = [1, 2], taps = [2] }}
features = {{ mels = 16 }}
[[stages]]
steps = 10
distil = 1.0
ctc = 0.1
[[data]]
shar = "{shar}"
"""


@pytest.fixture(scope="module")
def bucket(shard_folder, tmp_path_factory):
    """A bucket on a server whose address and credentials stand where boto3 looks; `shards/` are those of the folder."""
    folder = tmp_path_factory.mktemp("server")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            patch.setenv(name, str(folder / "none"))
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        with Running(folder, SERVER) as server:
            patch.setenv("AWS_ENDPOINT_URL", server.wait_for("Running on http").split()[-1])
            iam = boto3.Session("any", "any").client("iam")
            iam.create_user(UserName="trainer")
            iam.put_user_policy(UserName="trainer", PolicyName="all", PolicyDocument=json.dumps(POLICY))
            key = iam.create_access_key(UserName="trainer")["AccessKey"]
            patch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
            patch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
            made = boto3.Session().resource("s3").create_bucket(Bucket="corpora")
            upload(made, shard_folder, "shards")
            yield made


@pytest.fixture(autouse=True)
def new_session(bucket, monkeypatch):
    """As in a new process, boto3 reads the environment."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)


def upload(bucket, folder: str, prefix: str) -> None:
    for path in Path(folder).iterdir():
        if path.is_file():
            bucket.upload_file(str(path), f"{prefix}/{path.name}")


def run_of(to: Path, shar: str, workers: int = 0) -> str:
    """The configuration, as a file, of a run of ten steps that writes to the folder `to`."""
    to.mkdir(exist_ok=True)
    (to / "run.toml").write_text(CONFIG.format(to=to, shar=shar, workers=workers))
    return str(to / "run.toml")


def heard(to: Path) -> tuple[list[dict], dict]:
    """What a run logged (where it did a step twice, all that it logged), without its speed, and the weights it made."""
    rows = [json.loads(line) for line in (to / "run" / "log.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("hours_a_minute", None)
    return rows, checkpoint.load(to / "tiny.safetensors")[0]


@pytest.fixture(scope="module")
def near(shard_folder, tmp_path_factory):
    """A run on the shards on disk, as `heard` gives it; it and all runs beside it log every step."""
    to = tmp_path_factory.mktemp("near")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain, "LOG_EVERY", 1)
        assert main(["pretrain", run_of(to, shard_folder)]) == 0
        yield heard(to)


def agree(far: tuple[list[dict], dict], near: tuple[list[dict], dict]) -> None:
    assert len(near[0]) > 10 and all(np.isfinite(row["distil"]) for row in near[0] if "distil" in row)
    assert [row for row in near[0] if row not in far[0]] == [] == [row for row in far[0] if row not in near[0]]
    assert all(torch.equal(far[1][name], near[1][name]) for name in near[1])


def same_utterances(far: Shards, near: Shards) -> None:
    pairs = list(zip(far.opened(0, 1), near.opened(0, 1), strict=True))
    assert len(pairs) > 90
    for one, other in pairs:
        assert (one.id, one.supervisions) == (other.id, other.supervisions)
        assert one.custom.get("tokens") == other.custom.get("tokens")
        np.testing.assert_array_equal(one.load_audio(), other.load_audio())
        np.testing.assert_array_equal(one.load_teacher(), other.load_teacher())


def both(shard_folder: str) -> tuple[Shards, Shards]:
    return tuple(Shards((Source(shar=shar),), 0.2, "fake") for shar in ("s3://corpora/shards", shard_folder))


def test_utterances_from_object_storage_equal_those_from_disk(shard_folder):
    far, near = both(shard_folder)
    same_utterances(far, near)
    assert [cut.id for cut in far.validation(9)] == [cut.id for cut in near.validation(9)]


def test_a_run_from_object_storage_learns_as_one_from_disk_in_one_go_and_in_two(near, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main(["pretrain", run_of(whole, "s3://corpora/shards")]) == 0
    agree(heard(whole), near)
    assert main(["pretrain", run_of(parts, "s3://corpora/shards"), "--steps", "7"]) == 0
    assert main(["pretrain", run_of(parts, "s3://corpora/shards", workers=1)]) == 0
    assert len(heard(parts)[0]) == len(near[0])
    agree(heard(parts), near)


@dataclass
class Wire:
    """A way to the server that breaks off after every `most` bytes of its answers; they count once `armed` says so.

    `for_good`: after the first time whoever comes is turned away.
    """

    most: int
    for_good: bool = False
    armed: Callable[[], bool] = lambda: True
    broken: int = 0

    def __enter__(self) -> Wire:
        host, _, port = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://").partition(":")
        wire, left = self, self.most

        class Handler(BaseRequestHandler):
            def handle(self) -> None:
                nonlocal left
                with create_connection((host, int(port))) as far:
                    threading.Thread(target=pump, args=(self.request, far), daemon=True).start()
                    while not (wire.for_good and wire.broken) and (data := far.recv(1 << 14)):
                        left -= len(data) if wire.armed() else 0
                        if left < 0:
                            left, wire.broken = wire.most, wire.broken + 1
                            return
                        self.request.sendall(data)

        self.server = ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.patch = pytest.MonkeyPatch()
        self.patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{self.server.server_address[1]}")
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self.patch.undo()
        self.server.shutdown()
        self.server.server_close()


def pump(one, other) -> None:
    """Carry what is asked to the server, until either is gone."""
    try:
        while data := one.recv(1 << 14):
            other.sendall(data)
    except OSError:
        pass


def test_a_connection_that_breaks_off_is_taken_up_where_it_was(shard_folder):
    with Wire(most=1_000_000) as wire:
        same_utterances(*both(shard_folder))
    assert wire.broken >= 2


def test_a_server_that_goes_for_good_ends_the_run_with_a_line_and_the_next_goes_on(near, tmp_path, capsys):
    """It goes in the first pass after the fourth step's checkpoint, when that has read a shard and more."""
    run = run_of(tmp_path, "s3://corpora/shards")
    saved = tmp_path / "run" / "training.safetensors"
    with Wire(most=1_000_000, for_good=True, armed=saved.exists) as wire:
        assert main(["pretrain", run]) == 2
    assert wire.broken == 1 and checkpoint.read_meta(saved)["progress"]["step"] == 4
    error = capsys.readouterr().err
    assert "Traceback" not in error
    told = error.splitlines()[-1]
    assert told.startswith("wakeword: s3://corpora/shards: its shards are damaged, out of reach")
    assert "endpoint URL" in told and "the last shard read: cuts.0" in told
    assert "check address, credentials and network (docs/scaling.md)" in told
    assert main(["pretrain", run]) == 0
    agree(heard(tmp_path), near)


def refused(run: str, shar: str, capsys) -> str:
    """What `wakeword pretrain` says to a configuration it cannot follow: one line, with place, reason and remedy."""
    assert main(["pretrain", run]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"wakeword: {shar}: ") and "pip install" not in line
    assert "check address, credentials and network (docs/scaling.md), or make the shards" in line
    return line


@pytest.mark.parametrize(
    ("place", "environment", "told"),
    [
        ("nowhere/shards", {}, "NoSuchBucket"),
        ("corpora/nothing", {}, "'nothing/shards.json'.*NoSuchKey"),
        ("corpora/shards", {"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch"),
        ("corpora/shards", {"AWS_ACCESS_KEY_ID": "wrong"}, "InvalidAccessKeyId"),
        ("corpora/shards", {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "Unable to locate credentials"),
        ("corpora/shards", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "Could not connect"),
    ],
)
def test_a_wrong_address_or_credentials_are_one_line(tmp_path, monkeypatch, capsys, place, environment, told):
    for name, value in environment.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    line = refused(run_of(tmp_path, f"s3://{place}"), f"s3://{place}", capsys)
    assert re.search(rf"no whole folder of shards \(.*{told}", line), line


@pytest.mark.parametrize(
    ("left", "told"), [(0.0, "'less/recording.000002.tar'.*NoSuchKey"), (0.4, "last shard read: cuts.000002")]
)
def test_a_shard_that_is_missing_or_cut_short_is_one_line(bucket, shard_folder, tmp_path, capsys, left, told):
    upload(bucket, shard_folder, "less")
    shard = bucket.Object("less/recording.000002.tar")
    whole = (Path(shard_folder) / "recording.000002.tar").read_bytes()
    shard.put(Body=whole[: int(left * len(whole))]) if left else shard.delete()
    line = refused(run_of(tmp_path, "s3://corpora/less"), "s3://corpora/less", capsys)
    assert re.search(rf"its shards are damaged, out of reach, .* \(.*{told}", line), line


@pytest.mark.parametrize("module", ["smart_open", "boto3"])
def test_without_the_client_it_is_named(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(WakewordError, match=rf"'{module}'.*pip install 'wakeword\[scale\]'"):
        read_index("s3://corpora/shards")
