"""Settings: scales merge key by key, and whatever is wrong becomes one sentence with file and key."""

import random
import shutil
import string

import pytest
import yaml

from stages.lib.core.errors import InputError
from workflow.lib.settings import ROOT, SCALES, load_claims, load_registry, load_settings

FILES = ("base.yaml", "smoke.yaml", "datasets.yaml", "claims.yaml")
MUTANTS = 600


@pytest.fixture
def folder(tmp_path):
    for name in FILES:
        shutil.copy(ROOT / "config" / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("scale", SCALES)
def test_every_scale_is_valid(scale):
    assert load_settings(scale).quantization.sweeps


def test_a_scale_overrides_base_and_the_command_line_overrides_both(folder):
    assert load_settings("smoke", {"claims": {"confidence": 0.9}}, folder).claims.confidence == 0.9
    with pytest.raises(InputError, match="did you mean smoke"):
        load_settings("smok")


def test_numbers_inside_sections_of_the_command_line_are_numbers():
    # as `snakemake --config 'pruning={studies: {arms: {sparsities: [0.75, 5e-1]}}}'` hands them on
    study = {"sparsities": ["0.75", "5e-1"], "seeds": ["3"], "schedule": "linear"}
    techniques = {"mine": {"equalise": "true", "smooth": "0.25"}}
    overrides = {"pruning": {"studies": {"arms": study}}, "quantization": {"techniques": techniques}}
    settings = load_settings("smoke", overrides)
    arms, mine = settings.pruning.studies["arms"], settings.quantization.techniques["mine"]
    assert (arms.sparsities, arms.seeds, arms.schedule) == ((0.75, 0.5), (3,), "linear")
    assert (mine.equalise, mine.smooth) == (True, 0.25)
    with pytest.raises(InputError, match=r"^--config: pruning.verified_layers is '007'"):
        load_settings("smoke", {"pruning": {"verified_layers": "007"}})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("teechers: {}", "config/smoke.yaml: teechers is not a known key; did you mean teachers?"),
        ("claims: {confidence: high}", "config/smoke.yaml: claims.confidence is 'high': "),
        ("claims: {confidence: .nan}", "config/smoke.yaml: claims holds a value that is neither"),
        ("claims: {confidence: 2.0}", "config/smoke.yaml: claims.confidence is 2.0: "),
        ("claims: 3", "config/smoke.yaml: claims is '3': "),
        ("- a", "config/smoke.yaml must hold sections"),
        ("a: [", "config/smoke.yaml, line "),
        ("claims: {}\nclaims: {}", "config/smoke.yaml, line 2: the key 'claims' stands twice"),
        ("3: {}", "config/smoke.yaml, line 1: the key 3 is not text"),
        ("claims: &a {confidence: *a}", "config/smoke.yaml"),
        ("claims: !!python/object/apply:os.system [ls]", "config/smoke.yaml, line 1: "),
    ],
)
def test_a_mistake_is_one_sentence(folder, text, sentence):
    (folder / "smoke.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        load_settings("smoke", folder=folder)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mutated_files_are_refused_with_file_and_key_or_are_valid(folder):
    """Seeded fuzz over all configuration files: keys renamed, values replaced, text damaged."""
    chance = random.Random(0)
    refused = 0
    for _ in range(MUTANTS):
        name = chance.choice(FILES)
        original = (folder / name).read_bytes()
        mutant, key = _mutate(original, chance)
        (folder / name).write_bytes(mutant)
        try:
            _load(name, folder)
        except InputError as error:
            refused += 1
            sentence = str(error)
            assert "\n" not in sentence
            assert f"config/{name}" in sentence
            assert key is None or key in sentence, (name, key, sentence)
        finally:
            (folder / name).write_bytes(original)
    assert refused > MUTANTS / 4


def _load(name, folder):
    if name == "datasets.yaml":
        load_registry(folder / name)
    elif name == "claims.yaml":
        load_claims(folder / name)
    else:
        load_settings("smoke", folder=folder)


def _mutate(original, chance):
    """The damaged file, and the key that a sentence about it must name (None: a place in the text)."""
    if chance.random() < 0.3:
        at, junk = chance.randrange(len(original)), chance.choice([b"\xff", b"\t", b"{", b"'", b": :", b"*x"])
        return original[:at] + junk + original[at + 1 :], None
    tree = yaml.load(original, Loader=yaml.CSafeLoader)
    node, key = _random_place(tree, chance)
    if isinstance(node, dict) and chance.random() < 0.4:
        name = "".join(chance.choices(string.ascii_lowercase, k=6))
        node[name] = node.pop(key)
        return yaml.dump(tree, Dumper=yaml.CSafeDumper).encode(), None
    node[key] = chance.choice(
        [
            None,
            "",
            "text; $(id)",
            -1,
            0,
            10**30,
            0.5,
            True,
            [],
            {},
            ["a"],
            {"a": 1},
            "E9M9",
            "../x",
            "x" * 300,
        ]
    )
    return yaml.dump(tree, Dumper=yaml.CSafeDumper).encode(), key if isinstance(key, str) else None


def _random_place(tree, chance):
    node, key = tree, chance.choice(list(tree))
    while isinstance(node[key], dict | list) and node[key] and chance.random() < 0.9:
        node = node[key]
        key = chance.choice(list(node)) if isinstance(node, dict) else chance.randrange(len(node))
    return node, key
