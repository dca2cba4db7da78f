"""Run with the streaming environment: what ``RecentKeys`` says, step by step.

Reads JSON lines, each ``{"remembered_ms", "most_keys", "complete_from", "steps": [[what, key, now], ...]}`` where
``what`` is ``add`` or ``is_new``, and writes the answers to the ``is_new`` of each as a JSON list.
"""

import json
import sys

from pyflink.java_gateway import get_gateway


def main() -> None:
    recent_keys = get_gateway().jvm.city.lakehouse.distinct.RecentKeys
    for line in sys.stdin:
        case = json.loads(line)
        recent = recent_keys(case["remembered_ms"], case["most_keys"], case["complete_from"])
        answers = []
        for what, key, now in case["steps"]:
            if what == "add":
                recent.add(key.encode(), now)
            else:
                answers.append(recent.isNew(key.encode(), now))
        sys.stdout.write(json.dumps(answers) + "\n")


if __name__ == "__main__":
    main()
