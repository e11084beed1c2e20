"""Texts and language models from packages as they are published."""

import io
import json
import tarfile
import zipfile
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
    with pytest.raises(InputError, match=r"use text, brown, .*archive_texts"):
        read_text("other", tmp_path, "train", options)


SPLITS = ("train", "valid", "test")
PAGES = {
    f"package/doc/page{i:03}.txt": f"page {chr(97 + i % 26) * (i + 1)}\n\n  end   \n\n" for i in range(90)
}


def write_archive(path: Path, members: dict[str, str]) -> None:
    if path.suffix == ".whl":
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in members.items():
                archive.writestr(name, text)
        return
    with tarfile.open(path, "w:gz") as archive:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))


def splits_of(
    folder: Path, members: dict[str, str], *, file: str = "a.tgz", **options: str
) -> dict[str, str]:
    write_archive(folder / file, members)
    options = {"archive": file, "include": "*", "held_out": "0.2", **options}
    return {split: read_text("archive_texts", folder, split, options) for split in SPLITS}


def pages_of(text: str) -> set[str]:
    """The pages of a text; an end is the last line of each."""
    return {page.strip() for page in text.split("\n\n  end\n") if page.strip()}


def test_every_document_of_an_archive_is_in_one_split(tmp_path):
    texts = splits_of(tmp_path, PAGES)
    pages = {split: pages_of(text) for split, text in texts.items()}
    assert set.union(*pages.values()) == {text.splitlines()[0] for text in PAGES.values()}
    assert sum(map(len, pages.values())) == len(PAGES)
    # binomial: 18 of 90 are expected in each, with a standard deviation of 4
    assert 6 <= len(pages["valid"]) <= 30
    assert 6 <= len(pages["test"]) <= 30
    # one blank line between documents, none around
    assert "  end\n\npage" in texts["train"]
    assert texts["train"].endswith("  end\n")
    assert not texts["train"].startswith("\n")
    assert "\n\n\n" not in texts["train"]


def test_neither_the_order_in_an_archive_nor_its_kind_changes_a_split(tmp_path):
    texts = splits_of(tmp_path, PAGES)
    assert splits_of(tmp_path, dict(reversed(PAGES.items()))) == texts
    assert splits_of(tmp_path, PAGES, file="a.whl") == texts


def test_a_documents_split_does_not_depend_on_the_others(tmp_path):
    few = dict(list(PAGES.items())[::3])
    whole, part = splits_of(tmp_path, PAGES), splits_of(tmp_path, few)
    for split in SPLITS:
        assert pages_of(part[split]) == pages_of(whole[split]) & {t.splitlines()[0] for t in few.values()}


def test_a_cut_set_loses_training_documents_alone(tmp_path):
    whole, cut = splits_of(tmp_path, PAGES), splits_of(tmp_path, PAGES, kept="0.6")
    assert cut["valid"] == whole["valid"]
    assert cut["test"] == whole["test"]
    assert set() < pages_of(cut["train"]) < pages_of(whole["train"])
    for held_out, kept in (("0.5", "1"), ("0.2", "0.4"), ("0", "1"), ("0.2", "1.1")):
        with pytest.raises(InputError, match="choose 0 < 2 held_out < kept <= 1"):
            splits_of(tmp_path, PAGES, held_out=held_out, kept=kept)


def test_copies_tables_and_what_is_excluded_are_left_out(tmp_path):
    extra = {f"package/copy/{i}.txt": "the same text\r\n" for i in range(40)}
    extra |= {f"package/table/{i}.txt": f"{i} 3.25 17 4096 -1.5 a\n" for i in range(40)}
    extra |= {f"package/tests/{i}.txt": f"excluded {'x' * i}\n" for i in range(40)}
    extra |= {f"package/long/{i}.txt": f"{'long ' * 40}{'x' * i}\n" for i in range(40)}
    extra |= {"package/logo.png": "binary"}
    texts = splits_of(
        tmp_path, PAGES | extra, include="*/doc/*.txt *copy/*.txt *table/*.txt *tests/*.txt *long/*.txt",
        exclude="*/tests/*", longest_bytes="199",
    )  # fmt: skip
    together = "".join(texts.values())
    assert together.count("the same text\n") == 1
    assert together.count("  end\n") == len(PAGES)
    for word in ("4096", "excluded", "long", "binary", "\r"):
        assert word not in together


def test_documents_of_one_family_are_in_one_split(tmp_path):
    members = {f"{kind}-{i}": f"{kind} {i * 'x'}\n" for kind in ("ab", "cd", "ef", "gh") for i in range(20)}
    texts = splits_of(tmp_path, members, family="[a-z]+")
    for kind in ("ab", "cd", "ef", "gh"):
        assert sorted(text.count(kind) for text in texts.values()) == [0, 0, 20]


def test_a_field_of_json_members_is_their_text_and_lines_can_be_dropped(tmp_path):
    members = {f"{i}.json": json.dumps({"name": "no", "text": f"Z: me\nline {'x' * i}"}) for i in range(20)}
    texts = splits_of(tmp_path, members, field="text", drop="[A-Z]:")
    together = "".join(texts.values())
    assert together.count("line") == 20
    assert "no" not in together
    assert "Z:" not in together


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/absolute.txt", "a/../../b.txt"])
@pytest.mark.parametrize("file", ["a.tgz", "a.whl"])
def test_an_archive_whose_members_lead_out_of_it_is_refused(tmp_path, name, file):
    with pytest.raises(InputError, match="leads out of the archive"):
        splits_of(tmp_path, {**PAGES, name: "text\n"}, file=file, include="*/doc/*")


def test_a_document_that_is_not_utf8_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr("latin.txt", "é".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.txt in a\.whl is not UTF-8; exclude it"):
        read_text("archive_texts", tmp_path, "train", {"archive": "a.whl", "include": "*", "held_out": "0.1"})


def test_wordnet_is_read_as_a_dictionary(tmp_path):
    notice = "  1 This software and database is being provided to you\n"
    adjective = '00000100 00 a 02 galore(ip) 0 a_la_mode 0 001 & 00000200 a 0000 | in great numbers; "daisies galore"  \n'
    nouns = "".join(
        f"{i:08} 03 n 01 word{'s' * i} 0 001 ~ 00000001 n 0000 | thing {'x' * i}  \n" for i in range(40)
    )
    members = {"package/dict/data.adj": notice + adjective, "package/dict/data.noun": notice + nouns,
               "package/dict/index.noun": "word n 1 0"}  # fmt: skip
    write_archive(tmp_path / "a.tgz", members)
    texts = [
        read_text("wordnet_glosses", tmp_path, s, {"archive": "a.tgz", "held_out": "0.2"}) for s in SPLITS
    ]
    lines = "".join(texts).splitlines()
    assert 'galore, a la mode (adjective): in great numbers; "daisies galore"' in lines
    assert "words (noun): thing x" in lines
    assert len(lines) == len(set(lines)) == 41
    assert all(texts)
    assert not any("\n\n" in text for text in texts)


def test_translations_of_the_same_messages_are_split_alike(tmp_path):
    def splits_of_language(word: str) -> list[str]:
        messages = [f'{word} message "{i}", of many' for i in range(800)]
        lines = ["undefined", '"Two labels"', *map(json.dumps, [*messages, messages[0]])]
        script = "var content = [\n\t" + ",\n\t".join(lines) + "\n];\n\nexport { content as default };\n"
        write_archive(tmp_path / "a.tgz", {"package/main.js": script, "package/other.js": "no"})
        options = {"archive": "a.tgz", "member": "package/main.js", "held_out": "0.2"}
        return [read_text("ui_messages", tmp_path, split, options) for split in SPLITS]

    german, french = splits_of_language("Deutsche"), splits_of_language("Française")
    assert [text.replace("Française", "Deutsche") for text in french] == german
    lines = [line for text in german for line in text.splitlines() if line]
    assert sorted(lines) == sorted({f'Deutsche message "{i}", of many' for i in range(800)})
    assert all(german)


def test_an_archive_without_the_messages_is_named(tmp_path):
    write_archive(tmp_path / "a.tgz", {"package/other.js": "no"})
    options = {"archive": "a.tgz", "member": "package/main.js", "held_out": "0.2"}
    with pytest.raises(InputError, match=r"a\.tgz has no package/main\.js"):
        read_text("ui_messages", tmp_path, "train", options)


def test_code_of_the_environment_is_split_by_its_modules():
    options = {"packages": "mixture neural_network", "held_out": "0.2"}
    texts = [read_text("sklearn_code", Path(), split, options) for split in SPLITS]
    assert sum(text.count("\nclass GaussianMixture(") for text in texts) == 1
    assert sum(text.count("\nclass MLPClassifier(") for text in texts) == 1


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
