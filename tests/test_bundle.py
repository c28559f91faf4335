"""A bundle is whole, unaltered and plain data, or it is not opened; a replacement happens entirely or not at all."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from allegedly import bundle
from allegedly.bundle import MANIFEST, REQUIRED, open_folder, replacing, seal
from allegedly.errors import InputError
from allegedly.labels import LABELS


@pytest.fixture
def folder(tiny_bundle, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "models" / "stance"))


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def edit(path: Path, **changes) -> None:
    """Change a JSON file; None takes the key away."""
    data = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not None}))


def reseal(folder: Path) -> None:
    """Make the manifest fit the altered files, as somebody would who wants the alteration to pass."""
    facts = json.loads((folder / MANIFEST).read_text())
    seal(folder, {key: value for key, value in facts.items() if key not in ("format", "labels", "files")})


def refusal(folder: Path, *, naming: str, **options) -> str:
    """The one line with which ``folder`` is refused; it names the folder and ``naming``."""
    with pytest.raises(InputError) as caught:
        open_folder(folder, **options)
    message = str(caught.value)
    assert message.startswith(str(folder))
    assert "\n" not in message
    assert naming in message
    return message


def test_a_trained_bundle_opens(folder):
    found, manifest = open_folder(str(folder))
    assert found == folder
    assert manifest["labels"] == list(LABELS)
    assert manifest["temperature"] > 0
    assert set(REQUIRED) <= set(manifest["files"]) == {path.name for path in folder.iterdir()} - {MANIFEST}


def test_a_folder_that_is_not_there_is_refused_with_both_remedies(tmp_path):
    message = refusal(tmp_path / "nowhere", naming="no model there")
    assert "make train" in message
    assert "--model" in message


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "stance").write_text("x")
    refusal(tmp_path / "stance", naming="no model there")


@pytest.mark.parametrize("name", [*REQUIRED, MANIFEST])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert "missing" in refusal(folder, naming=name)


@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_file_is_missed_even_if_the_manifest_does_not_list_it(folder, name):
    (folder / name).unlink()
    reseal(folder)
    assert "missing" in refusal(folder, naming=name)


def test_a_file_that_only_the_manifest_lists_is_missed(folder):
    files = json.loads((folder / MANIFEST).read_text())["files"]
    edit(folder / MANIFEST, files=files | {"vocab.txt": "0" * 64})
    assert "missing" in refusal(folder, naming="vocab.txt")


def flip(path: Path) -> None:
    """Change one bit of a letter, so that JSON stays JSON; in other files, of the middle byte."""
    content = bytearray(path.read_bytes())
    at = content.index(b"version") if path.suffix == ".json" and b"version" in content else len(content) // 2
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", REQUIRED)
def test_one_altered_bit_is_noticed_and_the_file_is_named(folder, name):
    flip(folder / name)
    refusal(folder, naming=name)
    if name != "config.json":
        assert "altered" in refusal(folder, naming=name)


def test_an_altered_config_that_is_still_json_is_noticed(folder):
    edit(folder / "config.json", hidden_dropout_prob=0.9)
    assert "altered" in refusal(folder, naming="config.json")
    assert "altered" in refusal(folder, naming="config.json", verify=("tokenizer.json",))


def test_verify_compares_only_what_will_be_loaded(folder):
    flip(folder / "model.safetensors")
    assert open_folder(folder, verify=("model.onnx", "tokenizer.json"))[0] == folder
    assert "altered" in refusal(folder, naming="model.safetensors", verify=("model.safetensors",))


def test_another_label_order_in_the_manifest_is_refused(folder):
    edit(folder / MANIFEST, labels=list(reversed(LABELS)))
    refusal(folder, naming="labels are not warning, denial, allegation, background")


@pytest.mark.parametrize(
    "id2label",
    [
        {str(i): label for i, label in enumerate(reversed(LABELS))},
        {str(i): label for i, label in enumerate(LABELS[:3])},
        None,
        {"first": "warning"},
        list(LABELS),
    ],
    ids=["reversed", "three", "none", "no numbers", "a list"],
)
def test_another_label_order_in_the_config_is_refused(folder, id2label):
    edit(folder / "config.json", id2label=id2label)
    reseal(folder)
    refusal(folder, naming="train it again")


def test_a_config_that_brings_code_is_refused(folder):
    edit(folder / "config.json", auto_map={"AutoModel": "evil.Model"})
    reseal(folder)
    refusal(folder, naming="auto_map")


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize(
    "asked",
    [
        {"auto_map": {"AutoModel": "evil.Model"}},
        {"text_config": {"deeper": [{"auto_map": {"AutoModel": "elsewhere--evil.Model"}}]}},
        {"custom_pipelines": {"text-classification": {"impl": "evil.Pipeline"}}},
        {"_attn_implementation_internal": "elsewhere/kernels"},
    ],
    ids=str,
)
def test_code_that_is_asked_for_anywhere_is_refused(folder, name, asked):
    edit(folder / name, **asked)
    reseal(folder)
    assert "asks to run code" in refusal(folder, naming=name)


@pytest.mark.parametrize(
    "name", ["evil.py", "evil.so", "model.npy", "weights.h5", "weights.msgpack", "noending", ".p.pkl"]
)
def test_what_is_no_plain_data_is_refused_even_if_the_manifest_lists_it(folder, name):
    (folder / name).write_bytes(b"import os")
    reseal(folder)
    assert "could run code" in refusal(folder, naming=name)


@pytest.mark.parametrize("name", ["../../secret.txt", "/etc/passwd", "sub/x.json"])
def test_a_manifest_that_names_files_elsewhere_is_refused(folder, name):
    files = json.loads((folder / MANIFEST).read_text())["files"]
    edit(folder / MANIFEST, files=files | {name: "0" * 64})
    refusal(folder, naming=MANIFEST)


def test_a_pickle_in_the_place_of_the_weights_never_runs(folder, tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    (folder / "model.safetensors").write_bytes(pickle.dumps(Evil()))
    reseal(folder)
    from allegedly.backends import torch_backend

    with pytest.raises(Exception, match="(?i)safetensor|header"):
        torch_backend(folder, device="cpu")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "head.pkl", "optimizer.pt", "head.joblib", "x.ckpt", "x.pth"])
@pytest.mark.parametrize("listed", [True, False])
def test_a_pickle_beside_the_weights_is_refused(folder, name, listed):
    (folder / name).write_bytes(b"\x80\x04.")
    if listed:
        reseal(folder)
    assert "remove it" in refusal(folder, naming=name)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"text"', "{}", "\x00", '{"files": 3}', '{"files": {}}'])
@pytest.mark.parametrize("name", [MANIFEST, "config.json"])
def test_garbage_in_a_json_file_gives_one_line(folder, name, text):
    (folder / name).write_text(text)
    assert "train it again" in refusal(folder, naming="")


def test_a_manifest_that_is_not_utf8_gives_one_line(folder):
    (folder / MANIFEST).write_bytes(b"\xff\xfe")
    refusal(folder, naming=MANIFEST)


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": "warm"},
        {"temperature": None},
        {"max_length": 0},
        {"max_length": None},
        {"max_length": []},
        {"files": None},
    ],
    ids=str,
)
def test_impossible_values_in_the_manifest_give_one_line(folder, changes):
    edit(folder / MANIFEST, **changes)
    refusal(folder, naming=MANIFEST)


def test_a_file_that_goes_while_it_is_checked_gives_one_line(folder, monkeypatch):
    """As when a training puts another bundle in its place."""

    def gone(path):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))

    monkeypatch.setattr(bundle, "digest", gone)
    refusal(folder, naming="cannot be read (No such file or directory); try again")


def fill(draft: Path, source: Path) -> None:
    shutil.copytree(source, draft, dirs_exist_ok=True)
    (draft / "README.md").write_text("the new one")
    reseal(draft)


def test_replacing_swaps_in_what_the_block_made_and_leaves_nothing_beside(folder, tiny_bundle):
    with replacing(folder) as draft:
        assert list(draft.iterdir()) == []
        fill(draft, tiny_bundle)
        assert contents(folder) == contents(tiny_bundle)
    open_folder(folder)
    assert (folder / "README.md").read_text() == "the new one"
    assert list(folder.parent.iterdir()) == [folder]


def test_replacing_makes_folders_where_there_are_none_and_lets_others_read(tmp_path, tiny_bundle):
    target = tmp_path / "a" / "b" / "stance"
    with replacing(target) as draft:
        fill(draft, tiny_bundle)
    open_folder(target)
    assert target.stat().st_mode & 0o777 == 0o755
    assert list(target.parent.iterdir()) == [target]


def test_replacing_takes_an_empty_folder(tmp_path, tiny_bundle):
    (tmp_path / "stance").mkdir()
    with replacing(tmp_path / "stance") as draft:
        fill(draft, tiny_bundle)
    open_folder(tmp_path / "stance")
    assert list(tmp_path.iterdir()) == [tmp_path / "stance"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_error_in_the_block_leaves_the_old_bundle_and_no_draft(folder, tiny_bundle, error):
    def fail(draft):
        fill(draft, tiny_bundle)
        raise error

    with pytest.raises(error), replacing(folder) as draft:
        fail(draft)
    assert contents(folder) == contents(tiny_bundle)
    assert list(folder.parent.iterdir()) == [folder]


def test_a_failure_between_the_two_renames_is_repaired_by_opening(folder, tiny_bundle, monkeypatch):
    renames = []

    def rename(source, target, original=os.rename):
        renames.append(Path(target).name)
        if len(renames) == 2:
            raise OSError("killed")
        original(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(bundle.os, "rename", rename)
        with pytest.raises(OSError, match="killed"), replacing(folder) as draft:
            fill(draft, tiny_bundle)
    assert renames == [".stance.previous", "stance"]
    open_folder(folder)
    assert contents(folder) == contents(tiny_bundle)
    assert list(folder.parent.iterdir()) == [folder]


@pytest.fixture
def killed(folder, tiny_bundle) -> Path:
    """What a kill between the two renames leaves: the old bundle under its other name, and a draft."""
    os.rename(folder, folder.parent / ".stance.previous")
    fill(folder.parent / ".stance.draft-abc", tiny_bundle)
    return folder


def test_after_a_kill_opening_brings_the_old_bundle_back(killed, tiny_bundle):
    assert open_folder(killed)[0] == killed
    assert contents(killed) == contents(tiny_bundle)
    assert not (killed.parent / ".stance.previous").exists()


def test_after_a_kill_another_training_that_fails_still_leaves_the_old_bundle(killed, tiny_bundle):
    with pytest.raises(RuntimeError), replacing(killed):
        raise RuntimeError
    open_folder(killed)
    assert contents(killed) == contents(tiny_bundle)


def test_after_a_kill_another_training_replaces_the_bundle(killed, tiny_bundle):
    with replacing(killed) as draft:
        fill(draft, tiny_bundle)
    open_folder(killed)
    assert (killed / "README.md").read_text() == "the new one"
    assert not (killed.parent / ".stance.previous").exists()


def test_an_old_previous_folder_never_takes_the_place_of_a_bundle_that_is_there(folder, tiny_bundle):
    (folder.parent / ".stance.previous").mkdir()
    open_folder(folder)
    assert contents(folder) == contents(tiny_bundle)
    with replacing(folder) as draft:
        fill(draft, tiny_bundle)
    assert list(folder.parent.iterdir()) == [folder]


def test_a_folder_with_something_else_in_it_is_refused_and_untouched(tmp_path):
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.txt").write_text("years of work")
    with pytest.raises(InputError) as caught, replacing(foreign):
        pytest.fail("the block must not run")
    message = str(caught.value)
    assert message.startswith(f"{foreign}: holds something other than a bundle")
    assert "output=FOLDER" in message
    assert "\n" not in message
    assert contents(tmp_path) == {"thesis/chapter.txt": b"years of work"}
    assert list(tmp_path.iterdir()) == [foreign]


def test_a_file_in_the_place_of_the_output_is_refused_and_untouched(tmp_path):
    (tmp_path / "stance").write_text("years of work")
    with pytest.raises(InputError, match="holds something other than a bundle"), replacing(tmp_path / "stance"):
        pytest.fail("the block must not run")
    assert contents(tmp_path) == {"stance": b"years of work"}
    assert list(tmp_path.iterdir()) == [tmp_path / "stance"]


def test_the_manifest_lists_every_other_file_with_its_digest(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / MANIFEST).write_text("an older one")
    seal(tmp_path, {"temperature": 1.5})
    assert json.loads((tmp_path / MANIFEST).read_text()) == {
        "format": 1,
        "labels": list(LABELS),
        "temperature": 1.5,
        # sha256 of the two bytes {}
        "files": {"a.json": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
    }
