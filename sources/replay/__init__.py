"""Replays files of real measurements that nobody here made, as a mapping file describes them."""

from sources.replay.run import DryRun, ReplayOptions, dry_run, run_replay

__all__ = ["DryRun", "ReplayOptions", "dry_run", "run_replay"]
