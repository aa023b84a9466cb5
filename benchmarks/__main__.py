"""Run benchmarks in separate processes and print the numbers quoted in docs/explanation/performance.md.

python -m benchmarks [extract] [training] [merge]
"""

import subprocess
import sys

ALL = ("extract", "training", "merge")


def main() -> int:
    chosen = sys.argv[1:] or ALL
    unknown = sorted(set(chosen) - set(ALL))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; available: {', '.join(ALL)}", file=sys.stderr)
        return 2
    return max(subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode for name in chosen)


if __name__ == "__main__":
    sys.exit(main())
