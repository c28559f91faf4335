"""Each layer gets its own learning rate; perturbed weights come back exactly."""

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from allegedly.optimization import parameter_groups, perturbed


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=16)
    return BertForSequenceClassification(config)


def rates(model, **settings) -> dict[str, tuple[float, float]]:
    settings = {"learning_rate": 1.0, "layer_decay": 0.5, "weight_decay": 0.1} | settings
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, **settings)
    return {
        names[id(parameter)]: (group["lr"], group["weight_decay"]) for group in groups for parameter in group["params"]
    }


def test_the_rate_falls_from_the_head_to_the_embeddings(model):
    found = rates(model)
    assert found["classifier.weight"][0] == found["bert.pooler.dense.weight"][0] == 1.0
    assert [found[f"bert.encoder.layer.{i}.output.dense.weight"][0] for i in (2, 1, 0)] == [0.5, 0.25, 0.125]
    assert found["bert.embeddings.word_embeddings.weight"][0] == 0.0625


def test_no_decay_treats_all_layers_alike(model):
    assert {rate for rate, _ in rates(model, layer_decay=1.0).values()} == {1.0}


def test_only_matrices_are_decayed(model):
    found = rates(model)
    assert found["bert.encoder.layer.0.output.dense.weight"][1] == 0.1
    assert found["bert.encoder.layer.0.output.dense.bias"][1] == 0.0
    assert found["bert.encoder.layer.0.output.LayerNorm.weight"][1] == 0.0


def test_every_trained_parameter_is_in_one_group_and_no_frozen_one(model):
    model.bert.embeddings.requires_grad_(False)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert sorted(rates(model)) == sorted(trained)
    groups = parameter_groups(model, learning_rate=1, layer_decay=1, weight_decay=0)
    assert sum(len(group["params"]) for group in groups) == len(trained)


def test_perturbed_weights_raise_the_loss_and_come_back(model):
    model.eval()
    inputs = {"input_ids": torch.arange(12).reshape(2, 6), "labels": torch.tensor([0, 1])}
    loss = model(**inputs).loss
    loss.backward()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    with perturbed(model, 0.05):
        assert model(**inputs).loss > loss
        moved = model.classifier.weight - before["classifier.weight"]
        assert moved.norm().item() == pytest.approx(0.05 * before["classifier.weight"].norm().item(), rel=1e-4)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


def test_perturbed_weights_come_back_after_an_error(model):
    model(input_ids=torch.arange(6).reshape(1, 6), labels=torch.tensor([0])).loss.backward()
    before = model.classifier.weight.detach().clone()
    with pytest.raises(ZeroDivisionError), perturbed(model, 0.05):
        raise ZeroDivisionError
    assert torch.equal(model.classifier.weight, before)
