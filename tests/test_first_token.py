"""A last layer that works for the first token only changes neither logits nor gradients, and leaves no trace."""

import numpy as np
import pytest
import torch
from conftest import SENTENCES
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    CamembertConfig,
    DistilBertConfig,
    ElectraConfig,
    MPNetConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

from allegedly import encoding, first_token

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
CONFIGS = {
    "bert": BertConfig,
    "camembert": CamembertConfig,
    "electra": ElectraConfig,
    "mpnet": MPNetConfig,
    "roberta": RobertaConfig,
    "xlm-roberta": XLMRobertaConfig,
}


@pytest.fixture(params=CONFIGS)
def model(request):
    torch.manual_seed(0)
    config = CONFIGS[request.param](vocab_size=200, pad_token_id=0, num_labels=4, **SIZES)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    for parameter in model.parameters():  # fresh layers are nearly alike: nothing would show
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture
def batch(tiny_encoder):
    """Sentences of unequal length, padded."""
    tokenizer = encoding.load_tokenizer(tiny_encoder / "tokenizer.json", max_length=32)
    encodings = encoding.encode(tokenizer, [text for texts in SENTENCES.values() for text in texts])
    width = max(len(one.ids) for one in encodings)
    rows = [one.ids + [0] * (width - len(one.ids)) for one in encodings]
    masks = [[1] * len(one.ids) + [0] * (width - len(one.ids)) for one in encodings]
    arrays = {"input_ids": np.array(rows), "attention_mask": np.array(masks)}
    assert (arrays["attention_mask"] == 0).any()
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def gradients(model, batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    logits = model(**batch).logits
    logits.square().sum().backward()
    named = model.named_parameters()
    return logits.detach(), {
        name.replace(".layer.1.layer.", ".layer.1."): parameter.grad
        for name, parameter in named
        if parameter.grad is not None
    }


def test_every_architecture_is_tested():
    assert set(CONFIGS) == set(first_token.ARCHITECTURES)


def test_logits_and_gradients_are_those_of_the_whole_layer(model, batch):
    expected, expected_gradients = gradients(model, batch)
    with first_token.only(model):
        assert model.base_model(**batch).last_hidden_state.shape[1] == 1
        found, found_gradients = gradients(model, batch)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert found_gradients.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(found_gradients[name], gradient, atol=2e-3, rtol=1e-3, msg=name)


def test_the_model_is_whole_again_afterwards(model, batch):
    names = [name for name, _ in model.named_parameters()]
    with first_token.only(model):
        pass
    assert [name for name, _ in model.named_parameters()] == names
    assert model.base_model(**batch).last_hidden_state.shape[1] == batch["input_ids"].shape[1]


def test_another_architecture_stays_as_it_is():
    config = DistilBertConfig(vocab_size=20, dim=8, n_layers=1, n_heads=2, hidden_dim=8)
    model = AutoModelForSequenceClassification.from_config(config)
    with first_token.only(model):
        assert model.base_model(input_ids=torch.ones((1, 5), dtype=torch.long)).last_hidden_state.shape[1] == 5
