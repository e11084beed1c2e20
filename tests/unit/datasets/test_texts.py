"""Texts and language models from packages as they are published."""

import io
import tarfile
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from stages.datasets.config import LanguageModelEntry, Source
from stages.datasets.fetch_dataset import main as fetch_dataset
from stages.datasets.prepare_language_model import main as prepare_language_model
from stages.datasets.texts import read_text
from stages.lib.core.commands import to_json
from stages.lib.core.errors import InputError
from stages.lib.nets.language_folder import read_language_model, write_language_model


def test_brown_loses_its_tags_and_no_document_is_in_two_splits(tmp_path):
    lines = "\n\n\t``/`` Only/rb a/at 1\\/2/cd (/( handful/nn )/) ''/'' ,/, he/pps said/vbd ./.\n"
    with tarfile.open(tmp_path / "brown.tgz", "w:gz") as archive:
        for name in ["ca01", "ca02", "ca10", "cb10", "README", "cats.txt"]:
            content = (lines if name[0] == "c" and name[-1].isdigit() else "no/nn corpus/nn").encode()
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    options = {"archive": "brown.tgz"}
    texts = {s: read_text("brown", tmp_path, s, options) for s in ("train", "valid", "test")}
    sentence = '"Only a 1\\/2 (handful)", he said.\n'
    assert texts == {"train": sentence, "valid": sentence, "test": 2 * sentence}
    with pytest.raises(InputError, match="use text, brown, sklearn_descriptions"):
        read_text("other", tmp_path, "train", options)


def small_llama() -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    torch.manual_seed(0)
    vocabulary = {word: i for i, word in enumerate(["[UNK]", *"abcdefgh"])}
    tokens = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    config = LlamaConfig(
        vocab_size=9, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    return LlamaForCausalLM(config).eval(), PreTrainedTokenizerFast(tokenizer_object=tokens)


def test_a_users_folder_of_a_language_model_is_linked_and_read(tmp_path, monkeypatch):
    """The form in which OPT and LLaMA-2 come."""
    model, tokenizer = small_llama()
    theirs = tmp_path / "theirs"
    write_language_model(theirs, model, tokenizer, {})
    (theirs / "pytorch_model.bin").write_bytes(b"a pickle")
    entry = LanguageModelEntry(
        title="Small", licence="none", citation="none",
        sources=(Source(kind="folder", reader="transformers", location="SMALL_DIR", files={"config.json": ""}),),
    )  # fmt: skip
    manifest, ours = tmp_path / "raw/source.json", tmp_path / "ours/model.json"
    with pytest.raises(InputError, match="SMALL_DIR is not set"):
        fetch_dataset(["--name", "small", "--entry", to_json(entry), "--manifest", str(manifest)])
    monkeypatch.setenv("SMALL_DIR", str(theirs))
    fetch_dataset(["--name", "small", "--entry", to_json(entry), "--manifest", str(manifest)])
    prepare_language_model(["--entry", to_json(entry), "--manifest", str(manifest), "--model", str(ours)])
    assert not (ours.parent / "pytorch_model.bin").exists()
    found, words = read_language_model(ours.parent)
    ids = words("a b h g", return_tensors="pt").input_ids
    assert torch.equal(found(ids).logits, model(ids).logits)
    (ours.parent / "model.safetensors").unlink()
    with pytest.raises(InputError, match="cannot be read as a language model"):
        read_language_model(ours.parent)
    with pytest.raises(InputError, match=r"there is no config\.json"):
        read_language_model(Path(tmp_path))
