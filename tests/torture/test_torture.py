"""A sample of each campaign of `make torture`."""

import subprocess
from pathlib import Path

import faults
import kills
import nodes
import pairs
import pytest
from campaign import Campaign

MOUNTS, NAMESPACES = (
    subprocess.run(["unshare", *command], capture_output=True, check=False).returncode == 0
    for command in (["-m", "mount", "-t", "tmpfs", "none", "/mnt"], ["-n", "true"])
)
NEEDS_DISK = pytest.mark.skipif(not MOUNTS, reason="a small disk of its own needs the right to mount")
NEEDS_NETWORK = pytest.mark.skipif(not NAMESPACES, reason="nodes of one machine need the right to make namespaces")


def marks(campaign: Campaign) -> list[pytest.MarkDecorator]:
    if campaign in nodes.CAMPAIGNS:
        return [pytest.mark.slow, NEEDS_NETWORK]
    if "disk" in campaign.fault or "read-only" in campaign.fault:
        return [pytest.mark.slow, NEEDS_DISK]
    return [pytest.mark.slow]


CAMPAIGNS = [
    pytest.param(campaign, marks=marks(campaign), id=campaign.fault)
    for module in (kills, faults, pairs, nodes)
    for campaign in module.CAMPAIGNS
]


@pytest.mark.parametrize("campaign", CAMPAIGNS)
def test_nothing_is_lost(campaign: Campaign, tmp_path: Path):
    for number in range(campaign.sample):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            assert campaign.attempt(folder, number)
        except AssertionError as error:
            error.add_note(f"in try {number} of: {campaign.fault}")
            raise
