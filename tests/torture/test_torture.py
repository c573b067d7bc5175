"""A sample of each campaign of `make torture`."""

import subprocess
from pathlib import Path

import faults
import kills
import pairs
import pytest
from campaign import Campaign

CAMPAIGNS = [*kills.CAMPAIGNS, *faults.CAMPAIGNS, *pairs.CAMPAIGNS]
MOUNTS = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("campaign", CAMPAIGNS, ids=lambda campaign: campaign.fault)
def test_nothing_is_lost(campaign: Campaign, tmp_path: Path):
    if ("disk" in campaign.fault or "read-only" in campaign.fault) and not MOUNTS:
        pytest.skip("a small disk of its own needs the right to mount")
    for number in range(campaign.sample):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            assert campaign.attempt(folder, number)
        except AssertionError as error:
            error.add_note(f"in try {number} of: {campaign.fault}")
            raise
