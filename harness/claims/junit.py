"""Verdicts in the forms that continuous integration reads: JUnit's XML, and annotations of GitHub Actions."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from harness import safe_text
from harness.claims import level
from harness.claims.evidence import Verdict
from harness.claims.file import Claims
from harness.claims.wording import sentence, verdict_cells
from harness.errors import BadInput
from harness.files import write_output
from harness.report.tables import markdown


def junit(claims: Claims, verdicts: Sequence[Verdict], failures: Sequence[str] = ()) -> str:
    """Return a JUnit report: a test case for each verdict, skipped where runs cannot tell; an error a run without a result."""
    counts = {"tests": len(verdicts) + len(failures), "errors": len(failures)}
    counts["failures"] = sum(verdict.says == "fails" for verdict in verdicts)
    counts["skipped"] = sum(verdict.says == "cannot tell" for verdict in verdicts)
    suite = ElementTree.Element("testsuite", name=f"harness check {claims.called}")
    for name, n in counts.items():
        suite.set(name, str(n))
    if sentences := level.in_words(verdicts):
        properties = ElementTree.SubElement(suite, "properties")
        for words in sentences:
            ElementTree.SubElement(properties, "property", name="tests over seeds", value=words)
    for verdict in verdicts:
        name = f"{verdict.claim.title()}: {verdict.subject}" if verdict.subject else verdict.claim.title()
        case = ElementTree.SubElement(suite, "testcase", classname=claims.path.stem, name=name)
        case.set("file", str(claims.path))
        case.set("line", str(claims.line(verdict.claim)))
        if verdict.says == "fails":
            kind = "collapsed seed" if verdict.collapsed else "claim"
            ElementTree.SubElement(case, "failure", type=kind, message=sentence(verdict))
        elif verdict.says == "cannot tell":
            ElementTree.SubElement(case, "skipped", message=sentence(verdict))
        else:
            ElementTree.SubElement(case, "system-out").text = sentence(verdict)
    for words in failures:
        case = ElementTree.SubElement(suite, "testcase", classname=claims.path.stem, name=words.partition(" ")[0])
        ElementTree.SubElement(case, "error", message=words)
    for element in suite.iter():
        element.attrib.update({name: safe_text.xml(value) for name, value in element.attrib.items()})
        element.text = element.text and safe_text.xml(element.text)
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def annotations(claims: Claims, verdicts: Sequence[Verdict], failures: Sequence[str] = ()) -> list[str]:
    """Return workflow commands of GitHub Actions for verdicts that do not simply hold, and for runs that have no result."""
    levels = {"fails": "error", "cannot tell": "warning", "better": "notice"}
    lines = [safe_text.command("error", words, title="a run has no result") for words in failures]
    for verdict in verdicts:
        if verdict.says in levels:
            where = {"file": _from_here(claims.path), "line": claims.line(verdict.claim)}
            title = f"{verdict.claim.title()} {verdict.says}"
            lines.append(safe_text.command(levels[verdict.says], sentence(verdict), **where, title=title))
    return lines


def _from_here(path: Path) -> str:
    """Return a path as the current folder, which is the checkout, has it."""
    here = Path.cwd()
    return str(path.resolve().relative_to(here) if path.resolve().is_relative_to(here) else path)


def publish(claims: Claims, verdicts: Sequence[Verdict], failures: Sequence[str], report: Path | None) -> None:
    """Write the JUnit report, and on GitHub Actions annotate verdicts and add their table to the job's summary.

    Raises:
        BadInput: the report cannot be written.
    """
    if report is not None:
        try:
            report.parent.mkdir(parents=True, exist_ok=True)
            write_output(report, junit(claims, verdicts, failures).encode())
        except OSError as error:
            raise BadInput(
                f"--junit is {str(report)!r}, which cannot be written ({error.strerror}): name another"
            ) from None
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    for line in annotations(claims, verdicts, failures):
        safe_text.show_exactly(line, sys.stderr)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with open(summary, "a", encoding="utf-8") as file:
            file.write(
                f"### harness check {safe_text.markdown(claims.called)}\n\n{markdown(*verdict_cells(verdicts))}\n"
            )
            file.write("".join(f"\n{safe_text.markdown(words)}.\n" for words in level.in_words(verdicts)))
