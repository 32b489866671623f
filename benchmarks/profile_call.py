"""Show where the time of one mcpsync call goes, against the bare server.

    python benchmarks/profile_call.py [--era modern] [--answer json] [--calls 5000] [--top 25]

cProfile makes every Python call dearer and C code not at all, so read the order, not the
milliseconds; the first lines give the true time of a call without it.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))

from bare import BareServer
from contenders import InProcess, McpsyncClient, in_process

ROUNDS = 11


def main() -> None:
    """Print the unprofiled times, then the profile."""
    options = _parse()
    with BareServer() as server:
        contenders = {one.name: one for one in in_process(1)}
        target = server.target(options.era, options.answer)
        chosen = [contenders[name] for name in ("raw socket", "urllib3", "requests", "mcpsync")]
        for contender in chosen:
            contender.open(target)
        try:
            _print_times(chosen, max(1, options.calls // ROUNDS // 4))
            _print_profile(contenders["mcpsync"], options)
        finally:
            for contender in chosen:
                contender.close()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--era", choices=("legacy", "modern"), default="modern")
    parser.add_argument("--answer", choices=("json", "sse"), default="json")
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--top", type=int, default=25)
    parser.add_argument("--sort", choices=("tottime", "cumtime"), default="tottime")
    parser.add_argument("--save", metavar="FILE", help="keep the profile for other tools")
    return parser.parse_args()


def _print_times(contenders: list[InProcess], calls: int) -> None:
    medians: dict[str, list[float]] = {one.name: [] for one in contenders}
    for number in range(ROUNDS):
        start = number % len(contenders)
        for contender in contenders[start:] + contenders[:start]:
            medians[contender.name].append(statistics.median(contender.block(calls).seconds))
    for name, found in medians.items():
        print(f"{name:12} {statistics.median(found) * 1e6:8.1f} µs per call")


def _print_profile(contender: InProcess, options: argparse.Namespace) -> None:
    client = contender.client
    assert isinstance(client, McpsyncClient)
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(options.calls):
        client.call()
    profile.disable()
    if options.save:
        profile.dump_stats(options.save)
    stats = pstats.Stats(profile)
    print(f"\n{options.calls} calls, {options.era} {options.answer}:")
    stats.sort_stats(options.sort).print_stats(options.top)


if __name__ == "__main__":
    main()
