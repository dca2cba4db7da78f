"""A key that was added is never taken for new while it is remembered; most that were not, are."""

import json
import os
import random
import subprocess
from pathlib import Path
from typing import Any

from settings import Settings
from stack.local.services.flink import client_environment

SIDE = Path(__file__).with_name("recent_keys.py")
REMEMBERED_MS = 600
CASES = 60


def case(chance: random.Random) -> dict[str, Any]:
    """Adds and looks while the clock moves by leaps of up to twice what is remembered."""
    now, steps = 1_000, []
    longest = chance.choice([1, 20, 100, 2 * REMEMBERED_MS])
    for _ in range(150):
        now += chance.randrange(longest)
        steps.append([chance.choice(["add", "is_new"]), f"key-{chance.randrange(60)}", now])
    complete_from = chance.choice([0, 1_000 + 20 * longest])
    most_keys = chance.choice([30, 1_000_000])
    return {
        "remembered_ms": REMEMBERED_MS, "most_keys": most_keys, "complete_from": complete_from, "steps": steps,
    }  # fmt: skip


def answers(settings: Settings, root: Path, cases: list[dict[str, Any]]) -> list[list[bool]]:
    run = subprocess.run(
        [settings.toolchain / "streaming" / "bin" / "python", SIDE],
        input="\n".join(map(json.dumps, cases)),
        cwd=root,
        env=os.environ | client_environment(settings, Path(os.environ["JAVA_HOME"])),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith("[")]


def test_no_key_that_is_remembered_is_new(settings: Settings, root: Path) -> None:
    chance = random.Random(11)
    cases = [case(chance) for _ in range(CASES)]
    found = answers(settings, root, cases)
    assert [len(each) for each in found] == [sum(step[0] == "is_new" for step in c["steps"]) for c in cases]

    never_added = 0
    for each, said in zip(cases, found, strict=True):
        added: dict[str, int] = {}
        looks = iter(said)
        for what, key, now in each["steps"]:
            if what == "add":
                added[key] = now
                continue
            is_new = next(looks)
            if now - added.get(key, -REMEMBERED_MS) <= REMEMBERED_MS or now < each["complete_from"]:
                assert not is_new, (each, key, now)
            never_added += is_new and key not in added
    assert never_added > 100


def test_what_is_forgotten_is_new_again_and_more_than_fits_is_not_known(settings: Settings, root: Path) -> None:
    keys = [f"key-{number}" for number in range(20_000)]
    forgotten = [["add", key, 1_000] for key in keys[:50]]
    forgotten += [["add", "another", 3_000], *(["is_new", key, 3_000] for key in keys[:50])]
    full = [["add", key, 1_000] for key in keys]
    full += [["is_new", "another", 1_000 + REMEMBERED_MS - 1], ["is_new", "another", 1_000 + REMEMBERED_MS]]
    full_of_few = {"remembered_ms": REMEMBERED_MS, "most_keys": 100, "complete_from": 0, "steps": full}
    roomy = {"remembered_ms": REMEMBERED_MS, "most_keys": 1_000_000, "complete_from": 0, "steps": forgotten}
    again, unknown = answers(settings, root, [roomy, full_of_few])
    assert sum(again) > 45
    assert unknown == [False, True]
