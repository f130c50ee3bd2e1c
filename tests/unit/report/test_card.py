"""The data card and its JSON-LD say what the manifest says, in the forms that other tools read."""

import json
import re

import pytest
import yaml

from aesthetics_ops.dataset.layout import VersionFile, version_key
from aesthetics_ops.dataset.tables import RECORDS
from aesthetics_ops.pixels.transforms import Transform
from aesthetics_ops.report.card import render_card
from aesthetics_ops.report.croissant import render_croissant
from aesthetics_ops.report.words import hardware_in_words
from aesthetics_ops.testing.datasets import SyntheticDataset
from tests.support.versions import new_store, rejects_with_files, sample_photos


@pytest.fixture(scope="module")
def manifest():
    return SyntheticDataset(new_store("flowers&<b>")).publish(sample_photos(16), rejects_with_files()).manifest


@pytest.fixture(scope="module")
def card(manifest):
    return render_card(manifest)


@pytest.fixture(scope="module")
def croissant(manifest):
    return json.loads(render_croissant(manifest, records_sha256="a" * 64))


def header(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_card_starts_with_the_header_that_the_hub_reads(card):
    assert card.startswith("---\n")
    found = header(card)
    assert found["license"] == "unknown"
    assert found["pretty_name"] == "flowers&<b>"
    assert found["size_categories"] == ["n<1K"]
    assert found["task_categories"] == ["image-classification"]
    assert [config["data_files"] for config in found["configs"]] == ["records.parquet", "rejects.parquet"]


def test_card_counts_what_the_manifest_counts(manifest, card):
    assert "24 photos listed = 16 records + 8 left out" in card
    assert "| train | 14 | 2 |" in card
    for reason, count in manifest.rejects.items():
        assert f"| `{reason}` | {count} |" in card
    for feature in manifest.features:
        assert f"| `{feature}` |" in card
    assert manifest.fingerprint in card
    assert f"decoder takes {hardware_in_words(manifest.jpegs)} of the records" in card


def test_a_version_of_an_earlier_release_has_a_card_without_words_on_coding(manifest):
    assert "hardware" not in render_card(manifest.model_copy(update={"jpegs": None}))


def test_tables_of_the_card_have_as_many_cells_as_columns(card):
    for table in re.findall(r"(?:^\|.*\n)+", card, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1


def test_code_in_the_card_compiles(card):
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    compile(code, "README.md", "exec")


def test_names_cannot_break_out_of_the_card(manifest):
    url = "s3://bucket/`x`|<script>alert(1)</script>_*_\x1b'\"$(rm)/"
    hostile = manifest.model_copy(update={"dataset": url, "transforms": {"a|`b`": 1}})
    card = render_card(hostile)
    assert header(card)["pretty_name"] == "script>_*_\N{REPLACEMENT CHARACTER}'\"$(rm)"
    assert "\x1b" not in card
    assert "| `` a\\|`b` `` | 1 |" in card
    command = next(line for line in card.splitlines() if line.startswith("aesthetics-ops pull"))
    assert command.count("'") >= 4
    assert "# script\\>\\_\\*\\_" in card
    json.loads(render_croissant(hostile))


@pytest.mark.parametrize(("records", "category"), [(999, "n<1K"), (1000, "1K<n<10K"), (200_000, "100K<n<1M")])
def test_size_category_is_the_hubs(manifest, records, category):
    accounting = manifest.accounting.model_copy(update={"converted": records})
    card = render_card(manifest.model_copy(update={"accounting": accounting}))
    assert header(card)["size_categories"] == [category]


def test_card_explains_scaled_scores_and_splits_from_a_column(manifest):
    labels = manifest.labels.model_copy(update={"source_min": 1.0, "source_max": 10.0})
    settings = manifest.settings | {"split_column": "part"}
    transforms = dict.fromkeys(Transform, 1)
    card = render_card(
        manifest.model_copy(update={"labels": labels, "settings": settings, "transforms": transforms, "rejects": {}})
    )
    assert "Scores of 1 to 10 in the score file are stored as 0 to 1." in card
    assert "The column `part` of the score file" in card
    assert "rejects.parquet` has every one" not in card
    assert "Converted from a palette." in card


def test_croissant_names_every_shard_with_its_digest(manifest, croissant):
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    index, *files = croissant["distribution"]
    assert index["contentUrl"] == "records.parquet"
    assert index["sha256"] == "a" * 64
    assert [(file["@id"], file["sha256"], file["contentSize"]) for file in files] == [
        (shard.path, shard.sha256, f"{shard.bytes} B") for shard in shards
    ]
    # relative to the place where croissant.json lies
    up = version_key(manifest.version, VersionFile.CROISSANT).count("/")
    assert all(file["contentUrl"] == "../" * up + file["@id"] for file in files)


def test_croissant_describes_every_column_of_the_records(croissant):
    assert croissant["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    records = next(found for found in croissant["recordSet"] if found["@id"] == "records")
    assert [field["source"]["extract"]["column"] for field in records["field"]] == RECORDS.schema.names
    assert [field["description"] for field in records["field"]] == [column.description for column in RECORDS.columns]
    for field, column in zip(records["field"], RECORDS.schema, strict=True):
        kind = {"string": "sc:Text", "int64": "sc:Integer", "float": "sc:Float", "bool": "sc:Boolean"}
        element = column.type.value_type if field.get("isArray") else column.type
        assert field["dataType"] == kind[str(element)]


def test_croissant_has_what_the_specification_requires(croissant):
    required = ("conformsTo", "description", "license", "name", "url", "creator", "datePublished", "distribution")
    assert not [name for name in ("@context", "@type", *required) if not croissant.get(name)]
    assert re.fullmatch(r"\d+\.\d+\.\d+", croissant["version"])
    ids = re.findall(r'(?<=")@id": "(?!splits/name)([^"]*)"(?=,)', json.dumps(croissant))
    assert len(set(ids)) == len(ids)


def test_croissant_without_the_digest_of_the_index_leaves_it_out(manifest):
    assert "sha256" not in json.loads(render_croissant(manifest))["distribution"][0]


def test_equal_manifests_give_equal_bytes(manifest, card):
    assert render_card(manifest) == card
    assert render_croissant(manifest) == render_croissant(manifest)
