"""Frozen layers: they run once, stay as they came, and the model with and without the short cut is the same."""

import pytest
import torch
from conftest import SENTENCES, tiny_config
from safetensors.torch import load_file
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    MPNetConfig,
    MPNetForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from allegedly import encoding, frozen_layers
from allegedly.errors import InputError

TEXTS = [text for texts in SENTENCES.values() for text in texts]
SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
MODELS = {
    "bert": (BertConfig, BertForSequenceClassification),
    "mpnet": (MPNetConfig, MPNetForSequenceClassification),
    "roberta": (RobertaConfig, RobertaForSequenceClassification),
}


@pytest.fixture
def encodings(tiny_encoder):
    return encoding.encode(encoding.load_tokenizer(tiny_encoder / "tokenizer.json", max_length=32), TEXTS)


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(0)
    config, architecture = MODELS[request.param]
    return architecture(config(vocab_size=200, pad_token_id=0, num_labels=4, **SIZES)).eval()


@pytest.mark.parametrize("trained_layers", [0, 1, 3])
def test_the_cut_off_model_gives_the_logits_of_the_whole(model, encodings, trained_layers):
    expected = [model(input_ids=torch.tensor([e.ids])).logits for e in encodings]
    frozen = frozen_layers.freeze(model, trained_layers)
    assert frozen == 3 - trained_layers
    hidden = frozen_layers.outputs(model, encodings, frozen=frozen, device="cpu", batch_size=3)
    with frozen_layers.cut_off(model, frozen):
        found = [model(inputs_embeds=torch.from_numpy(h)[None].float()).logits for h in hidden]
    torch.testing.assert_close(torch.cat(found), torch.cat(expected), atol=2e-3, rtol=0)  # float16 lies between
    again = [model(input_ids=torch.tensor([e.ids])).logits for e in encodings]
    torch.testing.assert_close(again, expected)  # whole again


def test_only_the_upper_layers_and_the_head_are_trained(model):
    frozen_layers.freeze(model, 1)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all("encoder.layer.2." in name or "classifier" in name or "pooler" in name for name in trained)
    assert any("encoder.layer.2." in name for name in trained)
    assert any("classifier" in name for name in trained)


def test_other_architectures_are_refused():
    model = DistilBertForSequenceClassification(
        DistilBertConfig(vocab_size=20, dim=8, n_layers=1, n_heads=2, hidden_dim=8)
    )
    with pytest.raises(InputError, match="distilbert.*leave it null"):
        frozen_layers.freeze(model, 1)


def test_more_layers_than_there_are_are_refused(model):
    with pytest.raises(InputError, match="the encoder has 3; give at most that"):
        frozen_layers.freeze(model, 4)


def test_a_training_leaves_the_frozen_layers_as_they_came(tiny_encoder, tiny_corpus, tmp_path):
    from allegedly.training import train

    config = tiny_config(tiny_encoder, tiny_corpus, tmp_path, trained_layers=1)
    config.tracking.enabled = False
    scores = train(config)
    assert scores["test/macro_f1"] > 0.9
    before, after = (
        load_file(folder / "model.safetensors") for folder in (tiny_encoder, tmp_path / "models" / "stance")
    )
    changed = {name for name, value in before.items() if not torch.equal(value, after[f"bert.{name}"])}
    assert changed
    assert not {name for name in changed if "embeddings" in name or "layer.0." in name}
    assert (
        AutoModelForSequenceClassification.from_pretrained(tmp_path / "models" / "stance").config.num_hidden_layers == 2
    )
