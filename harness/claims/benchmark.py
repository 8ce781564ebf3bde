"""Claims about what pytest-benchmark saved."""

from collections.abc import Iterator

from harness.claims import baseline
from harness.claims.evidence import Evidence, Says, Verdict
from harness.claims.file import Benchmark
from harness.errors import BadInput, suggestion
from harness.files import from_json, read_file


def verdicts(claim: Benchmark, evidence: Evidence) -> Iterator[Verdict]:
    """Yield whether the benchmark's ratio to its floor is within the limit."""
    path = evidence.benchmarks or evidence.claims.benchmarks
    make = "make one with `pytest -n 0 tests/benchmarks --benchmark-json FILE`"
    if path is None:
        raise evidence.refusal(claim, f"no file of benchmarks is named: give --benchmarks FILE; {make}")
    try:
        content = from_json(read_file(path, baseline.MOST_BYTES).decode())
        found = {str(one["name"]): one["extra_info"].get("ratio") for one in content["benchmarks"]}
    except OSError as error:
        raise BadInput(f"the benchmarks {str(path)!r} cannot be read ({error.strerror}): {make}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadInput(f"{str(path)!r} is no file that pytest-benchmark saved: {make}") from None
    if claim.test not in found:
        raise evidence.refusal(
            claim,
            f"{str(path)!r} has no benchmark {claim.test!r}{suggestion(claim.test, found)}: it has "
            f"{', '.join(sorted(found)) or 'none'}",
        )
    ratio = found[claim.test]
    if not (isinstance(ratio, int | float) and abs(ratio) < 1e300):
        raise evidence.refusal(
            claim, f"benchmark {claim.test!r} has no ratio to a floor: its test must set benchmark.extra_info['ratio']"
        )
    says: Says = "holds" if ratio <= claim.at_most else "fails"
    yield Verdict(
        claim, claim.test, float(ratio), None, f"≤ {claim.at_most:g}", says, "times its floor, in one process"
    )
