"""What goes out with a version: counts that add up, and documents, which never stop one."""

import json
import logging

import pytest

from aesthetics_ops.builds import Build, BuildPlan
from aesthetics_ops.dataset.layout import VersionFile, version_key
from aesthetics_ops.dataset.sidecars import stored_file
from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.pipeline import convert_build, validate_build
from aesthetics_ops.publishing.documents import DOCUMENTS, Shown
from aesthetics_ops.publishing.publish import publish_build
from aesthetics_ops.versions.verify import verify_version
from tests.support.documents import QUICK_DOCUMENTS
from tests.support.nights import PHOTOS, Source, latest_version, start, version_files, version_table


def broken(_: Shown) -> str:
    raise KeyError("no template\nof this name")


def ready(source: Source) -> tuple[Build, BuildPlan]:
    """A build that only needs to be published."""
    build, plan = start(source.settings())
    convert_build(build, plan)
    validate_build(build, plan)
    return build, plan


def test_a_version_whose_counts_do_not_add_up_is_not_published(source: Source) -> None:
    build, plan = ready(source)
    wrong = plan.model_copy(update={"listed": plan.listed + 1})
    with pytest.raises(
        IntegrityError, match=rf"build '{build.id}' does not add up, so it is not published: .*listed 15 is not"
    ):
        publish_build(build, wrong, documents=QUICK_DOCUMENTS)
    assert (version_files(build.dataset), latest_version(build.dataset)) == ([], None)


def test_documents_are_made_from_what_the_version_holds(source: Source) -> None:
    build, plan = ready(source)
    seen: list[Shown] = []

    def render(shown: Shown) -> str:
        seen.append(shown)
        return "<p>the page"

    published = publish_build(build, plan, documents={VersionFile.REPORT: render})
    (shown,) = seen
    files = published.manifest.files
    assert (shown.manifest.model_copy(update={"files": files}), shown.parent) == (published.manifest, None)
    assert files is not None
    for name, stated in files.items():
        data = build.dataset.get(version_key(published.manifest.version, VersionFile(name))).data
        assert stored_file(data) == stated
    assert shown.records.equals(version_table(build.dataset, published.manifest, "records"))
    assert shown.rejects.equals(version_table(build.dataset, published.manifest, "rejects"))
    assert bytes(build.dataset.get(version_key(published.manifest.version, VersionFile.REPORT)).data) == b"<p>the page"
    assert (published.missing, published.summary["missing"]) == ((), [])
    assert published.report_url == published.summary["report"]
    assert published.report_url.endswith(f"/{published.manifest.version}/report.html")


@pytest.mark.parametrize("file", DOCUMENTS)
def test_a_document_that_cannot_be_made_is_named_and_the_version_goes_out_without_it(
    source: Source, caplog: pytest.LogCaptureFixture, file: VersionFile
) -> None:
    build, plan = ready(source)
    with caplog.at_level(logging.WARNING):
        published = publish_build(build, plan, documents=QUICK_DOCUMENTS | {file: broken})
    version = published.manifest.version
    assert [
        record.getMessage() for record in caplog.records if record.name.startswith("aesthetics_ops.publishing")
    ] == [
        f"version {version} goes without {file}, which could not be made: KeyError: 'no template\\nof this name'; its data is whole"
    ]
    assert published.is_new
    assert latest_version(build.dataset) == version
    assert verify_version(build.dataset) == published.manifest
    others = {name for name in VersionFile if build.dataset.head(version_key(version, name)) is not None}
    assert set(VersionFile) - others == {file}
    assert (published.missing, published.report_url is None) == ((file,), file is VersionFile.REPORT)
    assert json.loads(json.dumps(published.summary))["missing"] == [file]


def test_a_version_without_a_report_says_so_for_ever(source: Source) -> None:
    build, plan = ready(source)
    without = QUICK_DOCUMENTS | {VersionFile.REPORT: broken}
    first = publish_build(build, plan, documents=without)
    assert publish_build(build, plan, documents=QUICK_DOCUMENTS) == first
    again, plan = ready(source)
    unchanged = publish_build(again, plan, documents=QUICK_DOCUMENTS)
    assert (unchanged.is_new, unchanged.missing, unchanged.report_url) == (False, (VersionFile.REPORT,), None)
    source.remove(PHOTOS[0])
    later, plan = ready(source)
    assert publish_build(later, plan, documents=QUICK_DOCUMENTS).missing == ()
