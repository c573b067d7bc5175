"""Samples of the campaigns that spoil files, and code in files through a few doors."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from campaign import Campaign
from fuzz import CAMPAIGNS
from fuzz_files import FEW, SHORT, ZOO, fit
from fuzz_pickles import NAME, PAYLOADS, TAG


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("campaign", CAMPAIGNS, ids=lambda campaign: campaign.fault)
def test_what_is_spoiled_is_refused_or_runs(campaign: Campaign, tmp_path: Path):
    for number in range(campaign.sample):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            assert campaign.attempt(folder, number) in ("ran", "refused")
        except AssertionError as error:
            error.add_note(f"in try {number} of: {campaign.fault}")
            raise
        shutil.rmtree(folder)


def evaluated(folder: Path) -> list[str]:
    (folder / "bad.ckpt").write_bytes(PAYLOADS["archive"]())
    return ["evaluate", "bad.ckpt"]


def trained(folder: Path) -> list[str]:
    (folder / "mine.npz").write_bytes(PAYLOADS["arrays"]())
    return fit("arrays", "--data.path", "mine.npz", *FEW, *SHORT)


def configured(folder: Path) -> list[str]:
    (folder / "mine.yaml").write_text(f"name: {TAG}\n")
    return [*fit("digits", *FEW, *SHORT), "--config", "mine.yaml"]


def imported(folder: Path) -> list[str]:
    shutil.copy(ZOO / f"{NAME}.yaml", folder)
    (folder / f"{NAME}.safetensors").write_bytes(PAYLOADS["pickle"]())
    return ["zoo", "import", str(folder)]


@pytest.mark.parametrize("make", [evaluated, trained, configured, imported])
def test_code_in_a_file_is_refused_and_does_not_run(
    make: Callable[[Path], list[str]], daezoo_command: Callable[..., tuple[int, str, str]], workplace: Path
):
    status, _, errors = daezoo_command(*make(workplace))
    assert status == 2
    assert errors.startswith("daezoo: error: ")
    assert not (workplace / "ran").exists()


def test_the_code_would_run_where_it_was_unpickled(workplace: Path):
    pickle.loads(PAYLOADS["pickle"]())
    assert (workplace / "ran").exists()
