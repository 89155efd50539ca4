"""Publish images under a verdict that is about these very images."""

from cpmae_bids.bids import publish
from cpmae_bids.bids.verdict_records import identify


def publish_scan(scan, config, files, verdict):
    """Complete a verdict as the verdict step would, and publish."""
    return publish.publish_scan(scan, config, files, {**verdict, **identify(scan.path, files)})
